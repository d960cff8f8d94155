//! Descriptors whose payload is structures of constant size.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::super::memory::{Mapping, PAGE};
use super::super::{Options, Skip, lacking, signals};
use super::{Scene, checked, descriptor, descriptor_or_skip, read_once, write_once};

pub const TURNS: usize = 50;
pub const COUNTER: usize = 8;
pub const SIGNAL: usize = size_of::<libc::signalfd_siginfo>();
pub const INOTIFY: usize = size_of::<libc::inotify_event>();
/// A name with its padding.
pub const NAME: usize = 16;
pub const FANOTIFY: usize = size_of::<libc::fanotify_event_metadata>();
/// `struct uffd_msg`
pub const FAULT: usize = 32;

pub fn eventfd(_: &Options) -> Result<Scene> {
    // SAFETY: takes no memory of ours.
    let events = descriptor("eventfd", unsafe { libc::eventfd(0, 0) })?;
    Scene::new(move || {
        for _ in 0..TURNS {
            write_once(&events, &1u64.to_ne_bytes())?;
            ensure!(read_once(&events, &mut [0; COUNTER])? == COUNTER, "no counter");
        }
        Ok(())
    })
}

pub fn timerfd(_: &Options) -> Result<Scene> {
    // SAFETY: takes no memory of ours.
    let timer = descriptor("timerfd", unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) })?;
    Scene::new(move || {
        for _ in 0..TURNS {
            let soon = libc::timespec { tv_sec: 0, tv_nsec: 1000 };
            let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            let once = libc::itimerspec { it_interval: never, it_value: soon };
            // SAFETY: the time lives through the call; the old one is not asked for.
            let set = unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &once, std::ptr::null_mut()) };
            checked("timerfd_settime", set as isize)?;
            ensure!(read_once(&timer, &mut [0; COUNTER])? == COUNTER, "no counter");
        }
        Ok(())
    })
}

pub fn signalfd(_: &Options) -> Result<Scene> {
    let signal = libc::SIGURG;
    signals::Set::of(&[signal]).block();
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    let signals = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        descriptor("signalfd", libc::signalfd(-1, set.as_ptr(), 0))?
    };
    Scene::new(move || {
        for _ in 0..TURNS {
            // SAFETY: a signal to ourselves, which is blocked.
            checked("kill", unsafe { libc::kill(std::process::id() as i32, signal) } as isize)?;
            ensure!(read_once(&signals, &mut [0; SIGNAL])? == SIGNAL, "no signal");
        }
        Ok(())
    })
}

/// A file with a name of its own, removed at the end.
struct Named {
    directory: PathBuf,
    path: PathBuf,
}

impl Named {
    fn new(options: &Options) -> Result<Self> {
        let directory = options.dir.join(format!("scene-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let path = directory.join("file");
        File::create(&path)?;
        Ok(Named { directory, path })
    }

    fn c_path(path: &std::path::Path) -> Result<CString> {
        Ok(CString::new(path.as_os_str().as_bytes())?)
    }

    /// Changes the file's attributes, which is one event.
    fn change(&self) -> Result<()> {
        Ok(fs::set_permissions(&self.path, Permissions::from_mode(0o600))?)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn watch(path: &std::path::Path) -> Result<OwnedFd> {
    // SAFETY: takes no memory of ours.
    let events = descriptor("inotify", unsafe { libc::inotify_init1(0) })?;
    let path = Named::c_path(path)?;
    // SAFETY: a terminated path.
    let watch = unsafe { libc::inotify_add_watch(events.as_raw_fd(), path.as_ptr(), libc::IN_ATTRIB) };
    checked("inotify_add_watch", watch as isize)?;
    Ok(events)
}

/// Events of a file, without a name.
pub fn inotify(options: &Options) -> Result<Scene> {
    let file = Named::new(options)?;
    let events = watch(&file.path)?;
    Scene::new(move || {
        for _ in 0..TURNS {
            file.change()?;
            ensure!(read_once(&events, &mut [0; 256])? == INOTIFY, "another event");
        }
        Ok(())
    })
}

/// Events of a directory, with the name of the file in it.
pub fn inotify_names(options: &Options) -> Result<Scene> {
    let file = Named::new(options)?;
    let events = watch(&file.directory)?;
    Scene::new(move || {
        for _ in 0..TURNS {
            file.change()?;
            ensure!(read_once(&events, &mut [0; 256])? == INOTIFY + NAME, "another event");
        }
        Ok(())
    })
}

/// Opens of a file: each event brings a descriptor.
pub fn fanotify(options: &Options) -> Result<Scene> {
    let file = Named::new(options)?;
    // SAFETY: takes no memory of ours.
    let events = descriptor_or_skip("fanotify", unsafe { libc::fanotify_init(0, libc::O_RDONLY as u32) })?;
    let path = Named::c_path(&file.path)?;
    // SAFETY: a terminated path.
    let mark = unsafe {
        let (fd, add) = (events.as_raw_fd(), libc::FAN_MARK_ADD);
        libc::fanotify_mark(fd, add, libc::FAN_OPEN, libc::AT_FDCWD, path.as_ptr())
    };
    checked("fanotify_mark", mark as isize)?;
    Scene::new(move || {
        for _ in 0..TURNS {
            drop(File::open(&file.path)?);
            let mut event = [0u8; FANOTIFY];
            ensure!(read_once(&events, &mut event)? == FANOTIFY, "another event");
            // `fd`, behind the length, three bytes, their padding and the mask.
            let fd = i32::from_ne_bytes(event[16..20].try_into()?);
            drop(descriptor("fanotify", fd)?);
        }
        Ok(())
    })
}

/// Faults of another thread, answered with empty pages.
pub fn userfaultfd(_: &Options) -> Result<Scene> {
    // SAFETY: takes no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) } as i32;
    let faults = descriptor_or_skip("userfaultfd", fd)?;
    const API: libc::c_ulong = 0xc018_aa3f;
    const REGISTER: libc::c_ulong = 0xc020_aa00;
    let mut api = [0xaau64, 0, 0];
    ioctl(&faults, API, &mut api)?;
    let mapping = Mapping::anonymous_unread(TURNS * PAGE)?;
    let start = mapping.bytes().as_ptr() as u64;
    // Range, mode (missing pages), and what may be done, which the kernel fills.
    let mut register = [start, (TURNS * PAGE) as u64, 1, 0];
    ioctl(&faults, REGISTER, &mut register)?;
    Scene::new(move || {
        mapping.discard()?;
        let start = start as usize;
        let toucher = std::thread::spawn(move || {
            for page in 0..TURNS {
                // SAFETY: a page of the mapping, which lives until the thread is joined.
                unsafe { std::ptr::read_volatile((start + page * PAGE) as *const u8) };
            }
        });
        for _ in 0..TURNS {
            answer(&faults)?;
        }
        toucher.join().map_err(|_| anyhow::anyhow!("the other thread failed"))?;
        Ok(())
    })
}

fn answer(faults: &OwnedFd) -> Result<()> {
    const ZEROPAGE: libc::c_ulong = 0xc020_aa04;
    let mut message = [0u8; FAULT];
    ensure!(read_once(faults, &mut message)? == FAULT, "another message");
    let address = u64::from_ne_bytes(message[16..24].try_into()?);
    ioctl(faults, ZEROPAGE, &mut [address / PAGE as u64 * PAGE as u64, PAGE as u64, 0, 0])
}

fn ioctl<const N: usize>(fd: &OwnedFd, request: libc::c_ulong, argument: &mut [u64; N]) -> Result<()> {
    // SAFETY: the request's structure has N words.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument.as_mut_ptr()) };
    checked("ioctl", ret as isize)?;
    Ok(())
}

/// Key presses, from a device that the program makes to the program that reads it.
pub fn input(_: &Options) -> Result<Scene> {
    super::load_module("uinput");
    super::load_module("evdev");
    let device = lacking("/dev/uinput", File::options().write(true).open("/dev/uinput"))?;
    let events = create_keyboard(&device)?;
    Scene::new(move || {
        for turn in 0..TURNS {
            let press = input_event(1, KEY, 1 - turn as u32 % 2);
            let done = input_event(0, 0, 0);
            write_once(&device, &[press, done].concat())?;
            ensure!(read_once(&events, &mut [0; 256])? == 2 * EVENT, "other events");
        }
        Ok(())
    })
}

/// `struct input_event`
pub const EVENT: usize = 24;
const KEY: u16 = 30;

fn input_event(kind: u16, code: u16, value: u32) -> [u8; EVENT] {
    let mut event = [0; EVENT];
    event[16..18].copy_from_slice(&kind.to_ne_bytes());
    event[18..20].copy_from_slice(&code.to_ne_bytes());
    event[20..24].copy_from_slice(&value.to_ne_bytes());
    event
}

/// Makes a device with one key; the descriptor that its events are read from.
fn create_keyboard(device: &File) -> Result<OwnedFd> {
    const SET_EVBIT: libc::c_ulong = 0x4004_5564;
    const SET_KEYBIT: libc::c_ulong = 0x4004_5565;
    const SETUP: libc::c_ulong = 0x405c_5503;
    const CREATE: libc::c_ulong = 0x5501;
    const SYSNAME: libc::c_ulong = 0x8040_552c;
    let fd = device.as_raw_fd();
    let mut setup = [0u8; 92];
    setup[..8].copy_from_slice(&[3, 0, 1, 0, 1, 0, 1, 0]);
    setup[8..13].copy_from_slice(b"scene");
    let mut name = [0u8; 64];
    // SAFETY: each structure is as long as its request says.
    unsafe {
        checked("UI_SET_EVBIT", libc::ioctl(fd, SET_EVBIT, 1) as isize)?;
        checked("UI_SET_KEYBIT", libc::ioctl(fd, SET_KEYBIT, u64::from(KEY)) as isize)?;
        checked("UI_DEV_SETUP", libc::ioctl(fd, SETUP, setup.as_ptr()) as isize)?;
        checked("UI_DEV_CREATE", libc::ioctl(fd, CREATE) as isize)?;
        checked("UI_GET_SYSNAME", libc::ioctl(fd, SYSNAME, name.as_mut_ptr()) as isize)?;
    }
    let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_string();
    open_events(&name).map_err(|error| Skip(format!("no events of {name}: {error:#}")).into())
}

/// The device's node is made by hand: a machine without udev has none.
fn open_events(name: &str) -> Result<OwnedFd> {
    for entry in fs::read_dir(format!("/sys/devices/virtual/input/{name}"))? {
        let entry = entry?.path();
        if !entry.join("dev").exists() {
            continue;
        }
        let numbers = fs::read_to_string(entry.join("dev"))?;
        let (major, minor) = numbers.trim().split_once(':').ok_or_else(|| anyhow::anyhow!("no numbers"))?;
        let node = std::env::temp_dir().join(format!("scene-input-{}", std::process::id()));
        let path = Named::c_path(&node)?;
        // SAFETY: a terminated path.
        unsafe {
            let number = libc::makedev(major.parse()?, minor.parse()?);
            checked("mknod", libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, number) as isize)?;
            let fd = libc::open(path.as_ptr(), libc::O_RDONLY);
            let error = io::Error::last_os_error();
            let _ = fs::remove_file(&node);
            ensure!(fd >= 0, "{error}");
            return Ok(OwnedFd::from_raw_fd(fd));
        }
    }
    anyhow::bail!("no event device")
}
