//! The two queues that a shard shares with the kernel, and the one system call that moves both.

use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, squeue};
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::io::Errno;
use rustix::io_uring::{
    IoringEnterFlags, IoringRegisterOp, io_uring_enter, io_uring_enter_arg, io_uring_getevents_arg, io_uring_ptr,
    io_uring_register, io_uring_rsrc_update,
};
use rustix::thread::Timespec;
use std::os::raw::c_void;

use super::quirks::Quirks;

/// A ring of this thread; no other may use it.
pub struct Ring {
    ring: IoUring,
    /// The ring in the kernel's table for this thread, which saves looking its descriptor up at each call.
    registered: Option<u32>,
    no_iowait: bool,
}

/// The end of an operation, or one of several results of it.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub user_data: u64,
    /// A count, a descriptor, or an error below zero.
    pub result: i32,
    flags: u32,
}

impl Ring {
    /// `submissions` and `completions` are powers of two.
    pub fn new(submissions: u32, completions: u32, quirks: Quirks) -> Result<Self, Errno> {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        builder.setup_cqsize(completions).setup_clamp().setup_submit_all().dontfork();
        // Completions are brought by the call that waits for them, never by an interrupt in the middle of something.
        builder.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag().setup_defer_taskrun();
        let ring = builder.build(submissions).map_err(errno)?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
            return Err(Errno::NOSYS);
        }
        let no_iowait = quirks.no_iowait && ring.params().is_feature_no_iowait();
        let registered = register(&ring);
        Ok(Self { ring, registered, no_iowait })
    }

    /// Queues an operation; false if the queue is full and must be submitted first.
    ///
    /// # Safety
    ///
    /// What the entry points to must stay where it is until the operation's last completion.
    pub unsafe fn push(&mut self, entry: &Entry) -> bool {
        // SAFETY: the caller vouches for what the entry points to.
        unsafe { self.ring.submission().push(entry).is_ok() }
    }

    /// Hands over what is queued, and runs what the kernel has put off.
    pub fn look(&mut self) -> Result<(), Errno> {
        self.enter(0, None)
    }

    /// The same, and sleeps until something completes.
    pub fn wait(&mut self) -> Result<(), Errno> {
        self.enter(1, None)
    }

    /// The same, for a moment at most.
    pub fn wait_briefly(&mut self) -> Result<(), Errno> {
        self.enter(1, Some(&MOMENT))
    }

    fn enter(&mut self, wanted: u32, limit: Option<&Timespec>) -> Result<(), Errno> {
        let queued = self.ring.submission().len() as u32;
        let mut flags = IoringEnterFlags::GETEVENTS;
        if wanted > 0 && self.no_iowait {
            flags |= IoringEnterFlags::from_bits_retain(ENTER_NO_IOWAIT);
        }
        match self.call(queued, wanted, flags, limit) {
            // None of these is a failure: what has completed is there to be reaped, the rest is tried again.
            Ok(_) | Err(Errno::INTR | Errno::TIME | Errno::BUSY | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The kernel has put something off, and does it when it is entered.
    pub fn has_work(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    /// The next completion that has arrived.
    pub fn reap(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        Some(Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() })
    }

    /// Gives the kernel a ring of buffers.
    ///
    /// # Safety
    ///
    /// `entries` page-aligned entries at `address` must stay there as long as this ring does.
    pub unsafe fn register_buffers(&self, address: u64, entries: u16, group: u16) -> Result<(), Errno> {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(address, entries, group, 0).map_err(errno) }
    }

    #[expect(clippy::field_reassign_with_default, reason = "the argument's other fields are not ours to name")]
    fn call(
        &self,
        queued: u32,
        wanted: u32,
        mut flags: IoringEnterFlags,
        limit: Option<&Timespec>,
    ) -> Result<u32, Errno> {
        let fd = match self.registered {
            Some(index) => {
                flags |= IoringEnterFlags::REGISTERED_RING;
                // SAFETY: with REGISTERED_RING the kernel takes the number for an index into its table for this thread,
                // where the ring is for as long as this value lives. Nothing else is done with it.
                unsafe { BorrowedFd::borrow_raw(index as RawFd) }
            }
            None => descriptor(&self.ring),
        };
        let Some(limit) = limit else {
            // SAFETY: without an argument nothing is pointed to; whoever pushed the entries vouched for those.
            return unsafe { io_uring_enter(fd, queued, wanted, flags) };
        };
        let mut argument = io_uring_getevents_arg::default();
        argument.ts = io_uring_ptr::new(std::ptr::from_ref(limit).cast_mut().cast::<c_void>());
        flags |= IoringEnterFlags::EXT_ARG;
        // SAFETY: the time lives until the call returns; whoever pushed the entries vouched for those.
        unsafe { io_uring_enter_arg(fd, queued, wanted, flags, Some(&argument)) }
    }
}

impl Completion {
    /// The number of the buffer that the kernel chose.
    pub fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The same operation will bring more.
    pub fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The socket had more to read when this receive was done.
    pub fn nonempty(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }

    pub fn error(&self) -> Option<Errno> {
        (self.result < 0).then(|| Errno::from_raw_os_error(-self.result))
    }
}

fn register(ring: &IoUring) -> Option<u32> {
    let mut update = io_uring_rsrc_update::default();
    update.offset = u32::MAX;
    update.data = io_uring_ptr::new(ring.as_raw_fd() as usize as *mut c_void);
    let pointer = std::ptr::from_mut(&mut update).cast::<c_void>();
    // SAFETY: the kernel reads and writes the one update, which outlives the call.
    let done = unsafe { io_uring_register(descriptor(ring), IoringRegisterOp::RegisterRingFds, pointer, 1) };
    // Without it every call looks the descriptor up, and that is all.
    (done == Ok(1)).then_some(update.offset)
}

fn descriptor(ring: &IoUring) -> BorrowedFd<'_> {
    // SAFETY: it is open for as long as the ring lives.
    unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// `IORING_ENTER_NO_IOWAIT`, Linux 6.15: an idle ring does not pass for a machine that waits for its disk.
const ENTER_NO_IOWAIT: u32 = 1 << 7;
/// For a ring that ends.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
