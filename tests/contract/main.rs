//! What every driver promises, in one suite. Adding a driver is one line below.

mod choice;
mod descriptors;
mod endings;
mod handing;
mod kit;
mod limits;
mod streams;
mod waiting;

/// Runs every scenario against one driver.
macro_rules! contract {
    ($driver:ident: $run:path) => {
        mod $driver {
            contract!(@ $run;
                streams: bytes_arrive_whole_and_in_order, both_directions_progress_independently,
                    a_send_gathers_its_pieces, a_receive_goes_behind_what_a_buffer_holds,
                    what_is_at_hand_comes_in_its_order_and_what_is_not_is_not_waited_for,
                    an_armed_receive_tells_its_token_and_is_taken_over, a_receive_takes_over_one_that_is_still_armed;
                endings: an_end_uses_no_buffer, a_reset_is_not_an_end, unread_bytes_make_a_close_a_reset,
                    a_reset_that_a_send_met_is_told_to_receives_too, each_side_ends_its_own_direction,
                    a_refused_connect_says_so, a_client_that_left_before_it_was_accepted_is_accepted_and_ends;
                waiting: a_deadline_is_told_apart_and_the_next_receive_works, a_dropped_receive_leaves_nothing,
                    a_receive_that_loses_to_its_data_gives_the_buffer_back,
                    an_idle_receive_that_nobody_takes_gives_the_buffer_back,
                    an_accept_that_loses_to_a_connection_closes_it, timers_fire_in_order_and_not_early,
                    a_panic_ends_one_coroutine_only, dropping_all_coroutines_leaves_nothing;
                limits: a_slow_reader_blocks_the_sender_for_no_longer_than_it_allows,
                    a_short_send_that_is_cancelled_leaves_a_prefix, receives_wait_for_buffers_first_in_first_out,
                    a_receive_that_waits_for_a_buffer_can_be_dropped,
                    at_its_deadline_a_receive_that_waits_for_a_buffer_is_told_from_one_for_a_peer;
                handing: a_listener_that_stops_brings_all_who_have_connected,
                    an_armed_accept_ends_when_its_listener_stops, a_fresh_connection_goes_to_another_loop,
                    a_used_connection_stays_where_it_is);
        }
    };
    (@ $run:path; $($module:ident: $($scenario:ident),+);+) => {
        $($(
            #[test]
            fn $scenario() {
                $run(crate::$module::$scenario);
            }
        )+)+
    };
}

contract!(epoll: crate::kit::with_epoll);
contract!(uring: crate::kit::with_uring);
contract!(sim: crate::kit::with_sim);
contract!(sim_with_benign_faults: crate::kit::with_benign_faults);
