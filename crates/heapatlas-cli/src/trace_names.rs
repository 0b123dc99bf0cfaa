//! What traces are called.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use heapatlas_capture::Image;

const EXTENSION: &str = ".heaptrace";

/// Names for the traces of a recording, one for each process.
#[derive(Clone)]
pub struct TraceNames {
    output: Option<PathBuf>,
    program: String,
    /// The recording's place among those of one launch, from 1.
    recording: u32,
}

impl TraceNames {
    /// By what the user asked for, else by the program.
    pub fn new(output: Option<PathBuf>, program: &OsStr) -> Self {
        Self {
            output,
            program: base_name(program.as_encoded_bytes()),
            recording: 1,
        }
    }

    /// The same for a later recording of the launch, whose number is in its names, lest its files take the place of
    /// earlier ones.
    pub fn of_recording(self, recording: u32) -> Self {
        Self { recording, ..self }
    }

    /// The file of an image; `is_main` if it is of the process that was started.
    pub fn of(&self, image: &Image, is_main: bool) -> PathBuf {
        let path = self.of_first(image, is_main);
        if self.recording <= 1 {
            return path;
        }
        // Programs that were replaced by others have numbers, too.
        let mut names = (self.recording..).map(|number| with_number(&path, number));
        names.find(|name| !name.exists()).unwrap_or(path)
    }

    /// What the program of an image is called: by its file, else by itself.
    pub fn program(&self, image: &Image) -> String {
        let argument = image.arguments.first();
        [Some(&image.executable), argument]
            .into_iter()
            .flatten()
            .map(|path| base_name(path))
            .find(|name| !name.is_empty())
            .unwrap_or_else(|| self.program.clone())
    }

    fn of_first(&self, image: &Image, is_main: bool) -> PathBuf {
        let pid = image.pid.to_string();
        let Some(output) = &self.output else {
            let own;
            let program = if is_main {
                &self.program
            } else {
                own = self.program(image);
                &own
            };
            return PathBuf::from(format!("heapatlas.{program}.{pid}{EXTENSION}"));
        };
        let text = output.as_os_str().to_string_lossy();
        if text.contains("%p") {
            PathBuf::from(text.replace("%p", &pid))
        } else if is_main {
            output.clone()
        } else {
            with_number(output, image.pid)
        }
    }
}

/// The file with a number before its extension, or at its end if that is another one.
pub fn with_number(path: &Path, number: u32) -> PathBuf {
    let text = path.as_os_str().to_string_lossy();
    match text.strip_suffix(EXTENSION) {
        Some(stem) => PathBuf::from(format!("{stem}.{number}{EXTENSION}")),
        None => with_suffix(path, &format!(".{number}")),
    }
}

/// The path with something at its end.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn base_name(path: &[u8]) -> String {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(pid: u32, executable: &str) -> Image {
        Image {
            pid,
            executable: executable.as_bytes().to_vec(),
            ..Image::default()
        }
    }

    #[track_caller]
    fn check(output: Option<&str>, expected: [&str; 2]) {
        let names = TraceNames::new(output.map(PathBuf::from), OsStr::new("./run.sh"));
        let main = names.of(&image(7, "/bin/sh"), true);
        let child = names.of(&image(8, "/bin/ls"), false);
        assert_eq!([main, child], expected.map(PathBuf::from));
    }

    #[test]
    fn a_file_for_each_process() {
        check(
            None,
            ["heapatlas.run.sh.7.heaptrace", "heapatlas.ls.8.heaptrace"],
        );
        check(Some("of.%p.x"), ["of.7.x", "of.8.x"]);
        check(
            Some("a/out.heaptrace"),
            ["a/out.heaptrace", "a/out.8.heaptrace"],
        );
        check(Some("out"), ["out", "out.8"]);
    }
}
