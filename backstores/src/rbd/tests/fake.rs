//! Functions in place of librados and librbd. Their handles are addresses of the structures here. Images live in a table
//! by their names; the other behaviour depends on names:
//!
//! | name | behaviour |
//! | --- | --- |
//! | client `refused` | the connection is refused |
//! | client `hangs` | the connection waits for [`release`] |
//! | configuration `/missing`, pool `nopool`, image `none` | `ENOENT` |
//! | image `forbidden` | `EPERM` unless it is opened for reading |
#![allow(unsafe_code)] // The functions have the C types.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::rbd::functions::{
    Callback, CompletionHandle, DiffCallback, Functions, ImageHandle, IoCtx, Rados, UpdateCallback,
};

/// An image.
#[derive(Default)]
pub(super) struct Image {
    data: Mutex<Vec<u8>>,
    /// Every call ends with this error unless it is 0.
    pub(super) errno: AtomicI32,
    /// Number of calls with a completion.
    pub(super) calls: AtomicUsize,
    /// Number of times that it was closed.
    pub(super) closed: AtomicUsize,
    pub(super) watch: Mutex<Option<(UpdateCallback, usize)>>,
    /// Whether calls wait for [`Image::release`].
    pub(super) hold: AtomicBool,
    held: Mutex<Vec<usize>>,
}

struct Cluster {
    name: String,
}

struct Completion {
    argument: *mut c_void,
    callback: Callback,
    value: isize,
}

/// What happened to the connections of a client.
#[derive(Default)]
struct Client {
    connected: usize,
    shut_down: usize,
    settings: Vec<(String, String)>,
}

static IMAGES: Mutex<Option<HashMap<String, Arc<Image>>>> = Mutex::new(None);
static CLIENTS: Mutex<Option<HashMap<String, Client>>> = Mutex::new(None);
static RELEASED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static RELEASE: Condvar = Condvar::new();

/// Makes an image of zeroes, also in place of another one.
pub(super) fn image(name: &str, size: usize) -> Arc<Image> {
    let image = Arc::new(Image { data: Mutex::new(vec![0; size]), ..Image::default() });
    IMAGES.lock().get_or_insert_default().insert(name.to_owned(), image.clone());
    image
}

/// How often a client has connected, and how often it was shut down.
pub(super) fn connections(id: &str) -> (usize, usize) {
    with_client(&format!("client.{id}"), |client| (client.connected, client.shut_down))
}

/// The options that were set for a client.
pub(super) fn settings(id: &str) -> Vec<(String, String)> {
    with_client(&format!("client.{id}"), |client| client.settings.clone())
}

/// Lets the connections of a client that hangs succeed.
pub(super) fn release(id: &str) {
    RELEASED.lock().push(format!("client.{id}"));
    RELEASE.notify_all();
}

impl Image {
    /// Changes the size as another client does.
    pub(super) fn resize(&self, size: usize) {
        self.data.lock().resize(size, 0);
        let (callback, argument) = self.watch.lock().expect("a watch");
        // SAFETY: the watch is registered with this argument.
        std::thread::spawn(move || unsafe { callback(argument as *mut c_void) }).join().unwrap();
    }

    /// Ends the calls that wait.
    pub(super) fn release(&self) {
        self.hold.store(false, Ordering::Release);
        for completion in self.held.lock().drain(..) {
            call_back(completion as CompletionHandle);
        }
    }
}

fn with_client<R>(name: &str, call: impl FnOnce(&mut Client) -> R) -> R {
    call(CLIENTS.lock().get_or_insert_default().entry(name.to_owned()).or_default())
}

fn text(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // SAFETY: the store passes texts that end with a zero byte.
    unsafe { CStr::from_ptr(at) }.to_str().unwrap().to_owned()
}

/// The structure at a handle.
///
/// # Safety
/// The handle is of `T`, and not closed.
unsafe fn at<'a, T>(handle: *mut c_void) -> &'a T {
    // SAFETY: see above.
    unsafe { &*handle.cast::<T>() }
}

pub(super) fn functions() -> &'static Functions {
    &Functions {
        rados_create2,
        rados_conf_parse_env,
        rados_conf_read_file,
        rados_conf_set,
        rados_conf_get,
        rados_connect,
        rados_shutdown,
        rados_ioctx_create,
        rados_ioctx_set_namespace,
        rados_ioctx_destroy,
        rbd_open,
        rbd_open_read_only,
        rbd_close,
        rbd_get_size,
        rbd_flush,
        rbd_update_watch,
        rbd_update_unwatch,
        rbd_diff_iterate2,
        rbd_aio_create_completion,
        rbd_aio_get_return_value,
        rbd_aio_release,
        rbd_aio_read,
        rbd_aio_write,
        rbd_aio_flush,
        rbd_aio_discard,
        rbd_aio_write_zeroes,
    }
}

unsafe extern "C" fn rados_create2(out: *mut Rados, _: *const c_char, name: *const c_char, _: u64) -> c_int {
    let cluster = Box::new(Cluster { name: text(name) });
    // SAFETY: the store passes the address of a handle.
    unsafe { *out = Box::into_raw(cluster).cast() };
    0
}

unsafe extern "C" fn rados_conf_parse_env(_: Rados, _: *const c_char) -> c_int {
    0
}

unsafe extern "C" fn rados_conf_read_file(_: Rados, path: *const c_char) -> c_int {
    if text(path) == "/missing" { -2 } else { 0 }
}

unsafe extern "C" fn rados_conf_set(cluster: Rados, option: *const c_char, value: *const c_char) -> c_int {
    // SAFETY: the handle is of `rados_create2`.
    let cluster = unsafe { at::<Cluster>(cluster) };
    with_client(&cluster.name, |client| client.settings.push((text(option), text(value))));
    0
}

unsafe extern "C" fn rados_conf_get(_: Rados, _: *const c_char, into: *mut c_char, len: usize) -> c_int {
    let number = c"65536".to_bytes_with_nul();
    assert!(len >= number.len());
    // SAFETY: there are so many bytes.
    unsafe { into.copy_from_nonoverlapping(number.as_ptr().cast(), number.len()) };
    0
}

unsafe extern "C" fn rados_connect(cluster: Rados) -> c_int {
    // SAFETY: the handle is of `rados_create2`.
    let cluster = unsafe { at::<Cluster>(cluster) };
    if cluster.name == "client.refused" {
        return -13;
    }
    if cluster.name == "client.hangs" {
        let mut released = RELEASED.lock();
        while !released.contains(&cluster.name) {
            RELEASE.wait(&mut released);
        }
    }
    with_client(&cluster.name, |client| client.connected += 1);
    0
}

unsafe extern "C" fn rados_shutdown(cluster: Rados) {
    // SAFETY: the handle is of `rados_create2`, and is shut down once.
    let cluster = unsafe { Box::from_raw(cluster.cast::<Cluster>()) };
    with_client(&cluster.name, |client| client.shut_down += 1);
}

unsafe extern "C" fn rados_ioctx_create(cluster: Rados, pool: *const c_char, out: *mut IoCtx) -> c_int {
    // SAFETY: the store passes the address of a handle.
    unsafe { *out = cluster };
    if text(pool) == "nopool" { -2 } else { 0 }
}

unsafe extern "C" fn rados_ioctx_set_namespace(_: IoCtx, _: *const c_char) {}

unsafe extern "C" fn rados_ioctx_destroy(_: IoCtx) {}

unsafe extern "C" fn rbd_open(
    pool: IoCtx,
    name: *const c_char,
    out: *mut ImageHandle,
    snapshot: *const c_char,
) -> c_int {
    if text(name) == "forbidden" {
        return -1;
    }
    // SAFETY: the arguments are those of the store.
    unsafe { rbd_open_read_only(pool, name, out, snapshot) }
}

unsafe extern "C" fn rbd_open_read_only(
    _: IoCtx,
    name: *const c_char,
    out: *mut ImageHandle,
    _: *const c_char,
) -> c_int {
    let images = IMAGES.lock();
    let Some(image) = images.as_ref().and_then(|images| images.get(&text(name))) else { return -2 };
    // SAFETY: the store passes the address of a handle. The handle owns a reference until `rbd_close`.
    unsafe { *out = Arc::into_raw(image.clone()).cast_mut().cast() };
    0
}

unsafe extern "C" fn rbd_close(image: ImageHandle) -> c_int {
    // SAFETY: the handle is of `rbd_open`, and is closed once.
    let image = unsafe { Arc::from_raw(image.cast::<Image>()) };
    image.closed.fetch_add(1, Ordering::AcqRel);
    0
}

unsafe extern "C" fn rbd_get_size(image: ImageHandle, out: *mut u64) -> c_int {
    // SAFETY: the handle is open, and the result is a number.
    unsafe { *out = at::<Image>(image).data.lock().len() as u64 };
    0
}

unsafe extern "C" fn rbd_flush(image: ImageHandle) -> c_int {
    // SAFETY: the handle is open.
    -unsafe { at::<Image>(image) }.errno.load(Ordering::Relaxed)
}

unsafe extern "C" fn rbd_update_watch(
    image: ImageHandle,
    out: *mut u64,
    callback: UpdateCallback,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the handle is open, and the result is a number.
    unsafe {
        *at::<Image>(image).watch.lock() = Some((callback, argument as usize));
        *out = 7;
    }
    0
}

unsafe extern "C" fn rbd_update_unwatch(image: ImageHandle, watch: u64) -> c_int {
    assert_eq!(watch, 7);
    // SAFETY: the handle is open.
    *unsafe { at::<Image>(image) }.watch.lock() = None;
    0
}

unsafe extern "C" fn rbd_diff_iterate2(
    image: ImageHandle,
    _: *const c_char,
    offset: u64,
    len: u64,
    _: u8,
    _: u8,
    callback: DiffCallback,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the handle is open.
    let data = unsafe { at::<Image>(image) }.data.lock();
    let range = &data[offset as usize..][..len as usize];
    for (number, piece) in
        range.chunks(4096).enumerate().filter(|(_, piece)| piece.iter().any(|byte| *byte != 0))
    {
        // SAFETY: the argument is that of the caller.
        unsafe { callback(offset + 4096 * number as u64, piece.len(), 1, argument) };
    }
    0
}

unsafe extern "C" fn rbd_aio_create_completion(
    argument: *mut c_void,
    callback: Callback,
    out: *mut CompletionHandle,
) -> c_int {
    let completion = Box::new(Completion { argument, callback, value: 0 });
    // SAFETY: the store passes the address of a handle.
    unsafe { *out = Box::into_raw(completion).cast() };
    0
}

unsafe extern "C" fn rbd_aio_get_return_value(completion: CompletionHandle) -> isize {
    // SAFETY: the handle is not released.
    unsafe { at::<Completion>(completion) }.value
}

unsafe extern "C" fn rbd_aio_release(completion: CompletionHandle) {
    // SAFETY: the handle is of `rbd_aio_create_completion`, and is released once.
    drop(unsafe { Box::from_raw(completion.cast::<Completion>()) });
}

unsafe extern "C" fn rbd_aio_read(
    image: ImageHandle,
    offset: u64,
    len: usize,
    into: *mut c_char,
    completion: CompletionHandle,
) -> c_int {
    run(image, completion, |data| {
        // SAFETY: there are so many bytes.
        unsafe { into.copy_from_nonoverlapping(data[offset as usize..][..len].as_ptr().cast(), len) };
        len as isize
    })
}

unsafe extern "C" fn rbd_aio_write(
    image: ImageHandle,
    offset: u64,
    len: usize,
    from: *const c_char,
    completion: CompletionHandle,
) -> c_int {
    run(image, completion, |data| {
        // SAFETY: there are so many bytes.
        data[offset as usize..][..len]
            .copy_from_slice(unsafe { std::slice::from_raw_parts(from.cast(), len) });
        0
    })
}

unsafe extern "C" fn rbd_aio_flush(image: ImageHandle, completion: CompletionHandle) -> c_int {
    run(image, completion, |_| 0)
}

/// Discards nothing, as librbd does with less than the granularity.
unsafe extern "C" fn rbd_aio_discard(
    image: ImageHandle,
    _: u64,
    _: u64,
    completion: CompletionHandle,
) -> c_int {
    run(image, completion, |_| 0)
}

unsafe extern "C" fn rbd_aio_write_zeroes(
    image: ImageHandle,
    offset: u64,
    len: usize,
    completion: CompletionHandle,
    _: c_int,
    _: c_int,
) -> c_int {
    run(image, completion, |data| {
        data[offset as usize..][..len].fill(0);
        0
    })
}

/// Does a call and calls back at once, or when the image is released.
fn run(image: ImageHandle, completion: CompletionHandle, call: impl FnOnce(&mut [u8]) -> isize) -> c_int {
    // SAFETY: the handle is open.
    let image = unsafe { at::<Image>(image) };
    image.calls.fetch_add(1, Ordering::Relaxed);
    let errno = image.errno.load(Ordering::Relaxed);
    let value = if errno == 0 { call(&mut image.data.lock()) } else { -(errno as isize) };
    // SAFETY: the handle is not released, and only this function writes to it.
    unsafe { (*completion.cast::<Completion>()).value = value };
    if image.hold.load(Ordering::Acquire) {
        image.held.lock().push(completion as usize);
    } else {
        call_back(completion);
    }
    0
}

fn call_back(completion: CompletionHandle) {
    // SAFETY: the handle is not released before the callback.
    let Completion { argument, callback, .. } = *unsafe { at::<Completion>(completion) };
    // SAFETY: the callback and its argument belong together.
    unsafe { callback(completion, argument) }
}
