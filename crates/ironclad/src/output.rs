//! What commands print. Whoever reads it may stop reading, as `head` does: then the command ends
//! without a word, where the standard library's macros would panic, or goes on if it was only told
//! how things are. These take their place in every module of the program.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

/// What a shell tells of a process that wrote to nobody (128 and the number of SIGPIPE).
pub(crate) const BROKEN_PIPE: u8 = 141;

/// As the standard library's.
macro_rules! print {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*), "") };
}

/// As the standard library's.
macro_rules! println {
    () => { $crate::output::write(format_args!(""), "\n") };
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*), "\n") };
}

/// As the standard library's.
macro_rules! eprintln {
    () => { $crate::output::tell(format_args!("")) };
    ($($text:tt)*) => { $crate::output::tell(format_args!($($text)*)) };
}

/// Writes a line to standard error, if anybody reads that.
pub(crate) fn tell(text: Arguments<'_>) {
    // What cannot be said must not stop the work that it is about.
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Writes to standard output.
///
/// # Panics
/// When it cannot be written to for another reason than that nobody reads.
pub(crate) fn write(text: Arguments<'_>, end: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.write_all(end.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            std::process::exit(BROKEN_PIPE.into())
        }
        written => written.expect("standard output can be written to"),
    }
}
