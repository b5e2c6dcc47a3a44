//! `host[:port]`, as Host and an absolute target carry it.
