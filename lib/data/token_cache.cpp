#include "lib/data/token_cache.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/data/fingerprint.hpp"
#include "lib/data/tokenise.hpp"

namespace titan::data {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kVersion = 1;
constexpr const char* kRemedy = "; set training.token_cache to a folder that can be written";

struct Header {
  char magic[8] = {'T', 'I', 'T', 'A', 'N', 'T', 'O', 'K'};
  uint32_t version = kVersion;
  uint32_t element_bytes = 0;
  int64_t tokens = 0;
  int64_t documents = 0;
  int64_t malformed = 0;
  char key[32] = {};  // of cache_key()
  char reserved[48] = {};
  uint64_t checksum = 0;  // xxh3 of all before it

  uint64_t expected_checksum() const { return XXH3_64bits(this, offsetof(Header, checksum)); }
};
static_assert(sizeof(Header) == 128);

std::string cache_key(const Source& source, const Tokenizer& tokenizer) {
  Fingerprint key;
  key.add(kVersion).add(tokenizer.fingerprint()).add(static_cast<int64_t>(source.format));
  for (const SourceFile& file : source.files) {
    key.add(fs::absolute(file.path).lexically_normal().string()).add(file.size);
    key.add(file.modified_ns);
  }
  return key.hex();
}

// The cache, if the file is there and whole; a broken one gives a warning.
std::optional<CachedTokens> read_cache(const fs::path& path, const std::string& key) {
  std::error_code none;
  if (!fs::exists(path, none)) return {};
  FileDescriptor file = open_for_reading(path);
  Header header;
  bool whole = ::pread(file.get(), &header, sizeof header, 0) == sizeof header &&
               std::memcmp(header.magic, Header{}.magic, sizeof header.magic) == 0 &&
               header.version == kVersion && header.checksum == header.expected_checksum() &&
               std::string_view(header.key, sizeof header.key) == key &&
               (header.element_bytes == 2 || header.element_bytes == 4) &&
               look_at(path).size == static_cast<int64_t>(sizeof header) +
                                         header.tokens * int64_t{header.element_bytes};
  if (!whole) {
    log::warning(concat("Token cache ", path.string(), " is damaged and will be made again"));
    return {};
  }
  TokenDtype dtype = header.element_bytes == 2 ? TokenDtype::uint16 : TokenDtype::uint32;
  return CachedTokens{
      {path, sizeof header, header.tokens, dtype}, header.documents, header.malformed};
}

// Holds the lock file while it lives. The file stays: to delete it would let two in.
class BuildLock {
 public:
  explicit BuildLock(const fs::path& path)
      : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (file_.get() < 0) {
      throw InputError(
          concat("cannot create ", path.string(), ": ", std::strerror(errno), kRemedy));
    }
    for (bool told = false; ::flock(file_.get(), LOCK_EX | LOCK_NB) != 0; told = true) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        throw InputError(
            concat("cannot lock ", path.string(), ": ", std::strerror(errno), kRemedy));
      }
      if (!told) log::info("Another process tokenises the same text: waiting for it");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

 private:
  FileDescriptor file_;  // closing it unlocks
};

template <class Element>
void narrow(std::span<const int32_t> tokens, std::vector<char>& out) {
  out.resize(tokens.size() * sizeof(Element));
  for (size_t i = 0; i < tokens.size(); ++i) {
    auto element = static_cast<Element>(tokens[i]);
    std::memcpy(out.data() + i * sizeof element, &element, sizeof element);
  }
}

// The cache under a name of its own until it is whole. Only the holder of the lock makes one, so
// one name is enough, and what a killed builder left is overwritten.
class PartialCache {
 public:
  explicit PartialCache(const fs::path& target)
      : target_(target), path_(target.string() + ".partial") {
    with_remedy([&] {
      file_ = create_for_writing(path_);
      write(Header{});  // holds the place
    });
  }
  ~PartialCache() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  PartialCache(const PartialCache&) = delete;
  PartialCache& operator=(const PartialCache&) = delete;

  void append(std::string_view bytes) {
    with_remedy([&] { write_all(file_.get(), bytes, path_); });
  }

  void commit(const Header& header) {
    with_remedy([&] {
      TITAN_CHECK(::lseek(file_.get(), 0, SEEK_SET) == 0, "cannot go back in ", path_.string());
      write(header);
      sync_descriptor(file_.get(), path_);
      file_.close(path_);
      fs::rename(path_, target_);
      path_.clear();
      sync_directory(target_.parent_path());
    });
  }

 private:
  template <class Action>
  static void with_remedy(Action action) {
    try {
      action();
    } catch (const std::exception& error) {
      throw InputError(concat(error.what(), kRemedy, " and has room"));
    }
  }
  void write(const Header& header) {
    write_all(file_.get(), {reinterpret_cast<const char*>(&header), sizeof header}, path_);
  }

  fs::path target_, path_;
  FileDescriptor file_;
};

void build_cache(const fs::path& path, const std::string& key, const Source& source,
                 const Tokenizer& tokenizer) {
  Header header;
  header.element_bytes = tokenizer.vocab_size() <= 65536 ? 2 : 4;
  std::memcpy(header.key, key.data(), sizeof header.key);

  PartialCache cache(path);
  std::vector<char> bytes;
  auto append = [&](std::span<const int32_t> tokens) {
    if (header.element_bytes == 2) {
      narrow<uint16_t>(tokens, bytes);
    } else {
      narrow<uint32_t>(tokens, bytes);
    }
    cache.append({bytes.data(), bytes.size()});
    header.tokens += static_cast<int64_t>(tokens.size());
  };
  size_t threads = std::max(1u, std::thread::hardware_concurrency());
  LineReport report = tokenise(source, tokenizer, threads, append);

  for (const SourceFile& file : source.files) {
    if (look_at(file.path) != file) {
      throw InputError(concat(file.path.string(), " changed while it was being tokenised"));
    }
  }
  header.documents = report.documents();
  header.malformed = report.malformed();
  header.checksum = header.expected_checksum();
  cache.commit(header);
}

// A readable file name: the dataset, then the first half of the key.
std::string cache_name(const Source& source, const std::string& key) {
  return source.dataset + "-" + key.substr(0, 16) + ".tokens";
}

}  // namespace

fs::path token_cache_folder(const fs::path& configured) {
  if (!configured.empty()) return configured;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && fs::path(cache).is_absolute()) return fs::path(cache) / "titan-train";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') {
    throw InputError(concat("no folder for the token cache: HOME is not set", kRemedy));
  }
  return fs::path(home) / ".cache" / "titan-train";
}

CachedTokens open_token_cache(const Source& source, const Tokenizer& tokenizer,
                              const fs::path& folder) {
  const std::string key = cache_key(source, tokenizer);
  const fs::path path = folder / cache_name(source, key);
  if (auto cached = read_cache(path, key)) return *cached;

  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw InputError(concat("cannot create ", folder.string(), ": ", error.message(), kRemedy));
  }
  fs::path lock_path = path;
  lock_path += ".lock";
  BuildLock lock(lock_path);
  if (auto cached = read_cache(path, key)) return *cached;  // another process built it meanwhile
  build_cache(path, key, source, tokenizer);
  auto cached = read_cache(path, key);
  TITAN_CHECK(cached.has_value(), path.string(), " cannot be read back");
  return *cached;
}

}  // namespace titan::data
