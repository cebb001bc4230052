//! Gives freed memory of the allocator back to the system.
#![allow(unsafe_code)] // malloc_trim(3) has no safe wrapper.

/// Has the allocator return its free pages. glibc keeps what was freed below its dynamic threshold of up to 32 MiB, so that
/// after a burst a process stays as large as it was. Other allocators need no request.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer and is safe to call from any thread; it locks each arena for itself.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
