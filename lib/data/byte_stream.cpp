#include "lib/data/byte_stream.hpp"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"

namespace titan::data {
namespace {

namespace fs = std::filesystem;

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const fs::path& path) : path_(path), file_(open_for_reading(path)) {}

  size_t read(char* out, size_t capacity) override {
    for (;;) {
      ssize_t count = ::read(file_.get(), out, capacity);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        throw InputError(concat("cannot read ", path_.string(), ": ", std::strerror(errno)));
      }
      bytes_read_ += count;
      return static_cast<size_t>(count);
    }
  }
  int64_t file_bytes_read() const override { return bytes_read_; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  FileDescriptor file_;
  int64_t bytes_read_ = 0;
};

constexpr const char* kSenseless = "the compressed data makes no sense";

// What the two decompressors share: compressed bytes not used yet, and what to say of broken ones.
class CompressedStream : public ByteStream {
 public:
  explicit CompressedStream(const fs::path& path) : file_(path), buffer_(1 << 18) {}
  int64_t file_bytes_read() const override { return file_.file_bytes_read(); }

 protected:
  // Makes sure that there is input; false at the end of the file.
  bool fill() {
    if (used_ < filled_) return true;
    used_ = 0;
    filled_ = file_.read(buffer_.data(), buffer_.size());
    return filled_ > 0;
  }
  [[noreturn]] void fail_corrupt(const char* reason) const {
    throw InputError(concat(file_.path().string(), " is corrupt: ", reason));
  }
  [[noreturn]] void fail_cut_short() const {
    throw InputError(concat(file_.path().string(),
                            " is cut short: the compressed data ends before its end mark"));
  }

  PlainStream file_;
  std::vector<char> buffer_;
  size_t used_ = 0, filled_ = 0;
};

class GzipStream : public CompressedStream {
 public:
  explicit GzipStream(const fs::path& path) : CompressedStream(path) {
    constexpr int kGzipOnly = 16;
    TITAN_CHECK(inflateInit2(&state_, kGzipOnly + MAX_WBITS) == Z_OK, "zlib does not start");
  }
  ~GzipStream() override { inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  size_t read(char* out, size_t capacity) override {
    capacity = std::min(capacity, size_t{1} << 30);  // zlib counts in unsigned int
    size_t written = 0;
    while (written == 0) {
      // At the end of the file the decoder may still hold output, or an error.
      const bool more_input = fill();
      if (!more_input && !inside_member_) return 0;
      state_.next_in = reinterpret_cast<Bytef*>(buffer_.data() + used_);
      state_.avail_in = static_cast<uInt>(filled_ - used_);
      state_.next_out = reinterpret_cast<Bytef*>(out);
      state_.avail_out = static_cast<uInt>(capacity);
      inside_member_ = true;
      const int result = inflate(&state_, Z_NO_FLUSH);
      used_ = filled_ - state_.avail_in;
      written = capacity - state_.avail_out;
      if (!more_input && written == 0 && (result == Z_OK || result == Z_BUF_ERROR)) {
        fail_cut_short();
      }
      if (result != Z_OK && result != Z_STREAM_END) {
        fail_corrupt(state_.msg ? state_.msg : kSenseless);
      }
      if (result == Z_STREAM_END) {
        inside_member_ = false;
        inflateReset(&state_);
      }
    }
    return written;
  }

 private:
  z_stream state_{};
  bool inside_member_ = true;  // a file without any member is cut short, too
};

class ZstdStream : public CompressedStream {
 public:
  explicit ZstdStream(const fs::path& path) : CompressedStream(path), state_(ZSTD_createDStream()) {
    TITAN_CHECK(state_ != nullptr, "zstd does not start");
  }

  size_t read(char* out, size_t capacity) override {
    ZSTD_outBuffer output{out, capacity, 0};
    while (output.pos == 0) {
      // A full output may leave more inside the decoder, which then needs no further input.
      bool more_input = fill();
      if (!more_input && !inside_frame_) return 0;
      ZSTD_inBuffer input{buffer_.data(), filled_, used_};
      size_t result = ZSTD_decompressStream(state_.get(), &output, &input);
      if (ZSTD_isError(result)) fail(result);
      used_ = input.pos;
      inside_frame_ = result != 0;
      if (!more_input && output.pos == 0 && inside_frame_) fail_cut_short();
    }
    return output.pos;
  }

 private:
  // zstd's own limit on the window keeps a hostile header from claiming gigabytes of memory.
  [[noreturn]] void fail(size_t result) const {
    if (ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge) {
      throw InputError(concat(file_.path().string(),
                              " needs a window above 128 MiB to decompress: compress it without "
                              "zstd's --long, or with at most --long=27"));
    }
    // Not zstd's name of the error, which depends on how much is asked for at once.
    fail_corrupt(kSenseless);
  }

  struct Free {
    void operator()(ZSTD_DStream* state) const { ZSTD_freeDStream(state); }
  };
  std::unique_ptr<ZSTD_DStream, Free> state_;
  bool inside_frame_ = true;  // a file without any frame is cut short, too
};

}  // namespace

std::unique_ptr<ByteStream> ByteStream::open(const fs::path& path) {
  if (path.extension() == ".gz") return std::make_unique<GzipStream>(path);
  if (path.extension() == ".zst") return std::make_unique<ZstdStream>(path);
  return std::make_unique<PlainStream>(path);
}

}  // namespace titan::data
