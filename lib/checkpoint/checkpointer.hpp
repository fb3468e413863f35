// Checkpoints of a run: {folder}/step-N, written beside and renamed when complete, at once or in a
// background thread; the newest k are kept. A save that fails leaves the earlier checkpoints as
// they are and is reported in its outcome (and the log), not thrown: training goes on.
//
// Every rank has a Checkpointer and calls the same methods in the same order, from one thread, but
// for steps(), finished() and is_saving(). Each writes and reads its own part; rank 0 alone locks
// the folder, publishes, tidies up and logs. The folder lies on a file system that all ranks share.
// What fails on one rank has failed on all, with one message. The destructor waits for a save in
// flight.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lib/checkpoint/checkpoint_reader.hpp"
#include "lib/checkpoint/file_system.hpp"
#include "lib/checkpoint/snapshot.hpp"
#include "lib/checkpoint/step_folder.hpp"
#include "lib/parallel/host_group.hpp"

namespace titan {

struct SaveOutcome {
  int64_t step = 0;
  std::string error;  // empty: the checkpoint is complete and on disk
  double seconds = 0;
  uint64_t bytes = 0;  // of all ranks

  bool ok() const { return error.empty(); }
};

class Checkpointer {
 public:
  struct Config {
    std::filesystem::path folder;
    int keep_latest_k = 10;  // 0 keeps all; 1 is refused
    bool load_only = false;  // neither writes nor locks the folder
  };

  // Locks the folder and clears what an interrupted run left behind. Throws InputError when another
  // job is writing to it, or when there is no folder and none can be made. One that cannot be
  // written is a warning: each save will try again.
  // `group`: the ranks that save together. Nobody else may use it, since background saves do, and
  // its timeout must allow for the slowest rank's writing.
  explicit Checkpointer(Config config, FileSystem& files = FileSystem::posix(),
                        std::unique_ptr<HostGroup> group = std::make_unique<HostGroup>());
  ~Checkpointer();

  // Saves and returns when it is on disk or has failed. Waits for an earlier save first. Throws
  // Error when the snapshot itself is wrong (a caller's mistake).
  SaveOutcome save(Snapshot snapshot);

  // The same in a background thread; its outcome comes from finished() or wait().
  void start_save(Snapshot snapshot);

  // Outcomes of background saves that were not yet handed out; wait() first waits for the one in
  // flight.
  std::vector<SaveOutcome> finished();
  std::vector<SaveOutcome> wait();

  // Whether a background save is under way.
  bool is_saving() const { return save_running_; }

  // Steps that are there, newest first, valid or not; as this rank sees the folder.
  std::vector<int64_t> steps() const;

  // `load` reads this rank's part of a checkpoint; it must not wait for other ranks.
  using Load = std::function<void(const CheckpointReader&)>;

  // Opens a step and hands it to `load`; retention will not delete it. Throws InputError when it is
  // missing or not valid, and what `load` throws on any rank.
  void load_step(int64_t step, const Load& load);

  // The same with the newest valid step: where any rank finds damage (CorruptCheckpoint) all go on
  // to the one before, with a warning; `load` then runs again and overwrites all. Returns the step,
  // or nothing when there are no step folders. Throws InputError when there are some but none is
  // valid.
  std::optional<int64_t> load_latest(const Load& load);

 private:
  bool is_first() const { return group_->rank() == 0; }
  void make_writable();
  void keep_export(int64_t step);
  SaveOutcome run_save(const Snapshot& snapshot);
  uint64_t write_and_publish(const Snapshot& snapshot);
  void purge(int64_t newest, std::filesystem::path replaced);
  void delete_in_background(std::vector<std::filesystem::path> paths);
  std::map<int64_t, std::filesystem::path> agreed_steps();
  std::string load_together(int64_t step, const std::filesystem::path& path, const Load& load);

  Config config_;
  FileSystem& files_;
  std::unique_ptr<HostGroup> group_;
  FolderLock lock_;  // rank 0's
  std::optional<int64_t> loaded_step_;
  std::thread saving_;
  std::jthread deleting_;  // joins by itself, also where the constructor throws
  std::atomic<bool> save_running_ = false;
  std::vector<SaveOutcome> outcomes_;  // the saving thread appends; read after it was joined
};

}  // namespace titan
