import Foundation

/// stdout and stderr of a run. A log that can't be written ends nothing: the work is worth more.
enum StandardStreams {
    /// Before anything else: a reader who has gone is an error of the write, not our end; and a stream that was closed
    /// is put in its place by /dev/null, because the next file to be opened would take its number and get the messages.
    static func prepare() {
        signal(SIGPIPE, SIG_IGN)
        for stream in STDIN_FILENO...STDERR_FILENO where fcntl(stream, F_GETFD) < 0 {
            let null = open("/dev/null", O_RDWR)
            if null >= 0, null != stream {
                dup2(null, stream)
                close(null)
            }
        }
    }

    /// Whether all of it was written.
    @discardableResult
    static func write(_ text: String, to stream: Int32) -> Bool {
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(stream, $0.baseAddress! + done, bytes.count - done) }
            if count > 0 {
                done += count
            } else if errno == EAGAIN {
                wait(for: stream)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    /// A terminal or pipe that doesn't block and is full.
    private static func wait(for stream: Int32) {
        var wanted = pollfd(fd: stream, events: Int16(POLLOUT), revents: 0)
        poll(&wanted, 1, 1000)
    }
}

/// A line on stderr.
func writeError(_ text: String) { StandardStreams.write(text + "\n", to: STDERR_FILENO) }
