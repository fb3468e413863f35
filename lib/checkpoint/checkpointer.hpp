// Checkpoints of a run: {folder}/step-N, written beside and renamed when complete, at once or in a
// background thread; the newest k are kept. A save that fails leaves the earlier checkpoints as
// they are and is reported in its outcome (and the log), not thrown: training goes on. To be used
// from one thread. The destructor waits for a save in flight.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lib/checkpoint/checkpoint_reader.hpp"
#include "lib/checkpoint/file_system.hpp"
#include "lib/checkpoint/step_folder.hpp"
#include "lib/checkpoint/tensor_slice.hpp"

namespace titan {

// What is to be saved. The bytes must not change until the save has ended.
struct Snapshot {
  int64_t step = 0;
  std::vector<TensorSlice> model;
  std::vector<TensorSlice> optimizer;        // "<parameter>.exp_avg", "<parameter>.exp_avg_sq"
  bool model_only = false;                   // no optimizer: weights to use, not to resume from
  nlohmann::ordered_json model_description;  // ModelDescription::to_json()
  nlohmann::ordered_json state;              // the trainer's, given back by manifest().state

  // Model tensors in float32 are stored as this dtype; only in model-only saves.
  Dtype export_dtype = Dtype::kFloat32;
  // Writes Hugging Face's layout in place of ours (model only); tokenizer files come from this
  // folder.
  bool in_hugging_face = false;
  std::filesystem::path tokenizer_folder;

  // Called on the saving thread before the bytes are read: waits for the copies from the device.
  std::function<void()> wait_until_ready;
  // Whatever owns the bytes; let go of when the save has ended.
  std::shared_ptr<void> keep_alive;
};

struct SaveOutcome {
  int64_t step = 0;
  std::string error;  // empty: the checkpoint is complete and on disk
  double seconds = 0;
  uint64_t bytes = 0;

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
  // job is writing to it. A folder that cannot be written is a warning: each save will try again.
  explicit Checkpointer(Config config, FileSystem& files = FileSystem::posix());
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

  // Steps that are there, newest first, valid or not.
  std::vector<int64_t> steps() const;

  // Opens a step; retention will not delete it. Throws InputError when it is missing or not valid.
  std::unique_ptr<CheckpointReader> open_step(int64_t step);

  // Opens the newest valid step and hands it to `load`; where that finds damage (CorruptCheckpoint)
  // goes on to the one before, with a warning: `load` then runs again and overwrites all. Returns
  // the step, or nothing when there are no step folders. Throws InputError when there are some but
  // none is valid.
  std::optional<int64_t> load_latest(const std::function<void(const CheckpointReader&)>& load);

 private:
  void make_writable();
  SaveOutcome run_save(const Snapshot& snapshot);
  void purge(int64_t newest, std::filesystem::path replaced);
  void delete_in_background(std::vector<std::filesystem::path> paths);
  std::unique_ptr<CheckpointReader> open(int64_t step, const std::filesystem::path& path);

  Config config_;
  FileSystem& files_;
  FolderLock lock_;
  std::optional<int64_t> loaded_step_;
  std::thread saving_;
  std::thread deleting_;
  std::atomic<bool> save_running_ = false;
  std::vector<SaveOutcome> outcomes_;  // the saving thread appends; read after it was joined
};

}  // namespace titan
