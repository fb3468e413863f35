#include "lib/checkpoint/checkpointer.hpp"

#include <chrono>
#include <cstdio>
#include <set>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/checkpoint/hugging_face.hpp"
#include "lib/checkpoint/pending_directory.hpp"
#include "lib/checkpoint/shard_writer.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

void check_slices(std::span<const TensorSlice> slices) {
  std::set<std::string> names;
  for (const TensorSlice& slice : slices) {
    TITAN_CHECK(names.insert(slice.name).second, "snapshot: two slices of ", slice.name);
    TITAN_CHECK(inside(slice.box(), slice.global_shape), "snapshot: the slice of ", slice.name,
                " does not lie in ", to_string(slice.global_shape));
    TITAN_CHECK(
        slice.bytes.size() == static_cast<size_t>(volume(slice.shape)) * byte_size(slice.dtype),
        "snapshot: ", slice.bytes.size(), " bytes for ", slice.name, " ", to_string(slice.shape));
  }
}

void check(const Snapshot& snapshot) {
  TITAN_CHECK(snapshot.step >= 0, "snapshot: step ", snapshot.step);
  check_slices(snapshot.model);
  check_slices(snapshot.optimizer);
  bool plain = snapshot.export_dtype == Dtype::kFloat32 && !snapshot.in_hugging_face;
  TITAN_CHECK(snapshot.model_only ? snapshot.optimizer.empty() : plain,
              "snapshot: optimizer state with a model-only form");
}

TensorTable table(std::span<const TensorSlice> slices, Dtype float32_as) {
  TensorTable tensors;
  for (const TensorSlice& slice : slices) {
    Dtype stored = slice.dtype == Dtype::kFloat32 ? float32_as : slice.dtype;
    tensors.emplace(slice.name, TensorInfo{stored, slice.global_shape});
  }
  return tensors;
}

// Fills the directory with our format. Returns the bytes written.
uint64_t write_checkpoint(FileSystem& files, const fs::path& directory, const Snapshot& snapshot) {
  Manifest manifest{.step = snapshot.step,
                    .model_only = snapshot.model_only,
                    .model = snapshot.model_description,
                    .state = snapshot.state,
                    .model_tensors = table(snapshot.model, snapshot.export_dtype),
                    .optimizer_tensors = table(snapshot.optimizer, Dtype::kFloat32),
                    .files = {}};
  constexpr int kRank = 0;
  auto add = [&](std::optional<FileRecord> file) {
    if (file) manifest.files.push_back(std::move(*file));
  };
  add(write_shard(files, directory, Part::kModel, kRank, snapshot.model, snapshot.export_dtype));
  add(write_shard(files, directory, Part::kOptimizer, kRank, snapshot.optimizer));
  replace_file(files, directory / kManifestName, to_text(manifest));
  CheckpointReader proof(directory);  // what could not be opened again is not published

  uint64_t bytes = 0;
  for (const FileRecord& file : manifest.files) bytes += file.size;
  return bytes;
}

}  // namespace

Checkpointer::Checkpointer(Config config, FileSystem& files)
    : config_(std::move(config)), files_(files) {
  if (config_.keep_latest_k < 0 || config_.keep_latest_k == 1) {
    throw InputError(
        concat("checkpoint.keep_latest_k = ", config_.keep_latest_k,
               ": expected 0 (keep all) or at least 2, since the last one may be damaged"));
  }
  if (config_.load_only) return;
  try {
    make_writable();
  } catch (const InputError&) {
    throw;
  } catch (const Error& error) {
    log::warning(concat("checkpoints cannot be saved for now: ", error.what()));
  }
}

Checkpointer::~Checkpointer() {
  wait();
  if (deleting_.joinable()) deleting_.join();
}

SaveOutcome Checkpointer::save(Snapshot snapshot) {
  check(snapshot);
  if (saving_.joinable()) saving_.join();
  return run_save(snapshot);
}

void Checkpointer::start_save(Snapshot snapshot) {
  check(snapshot);
  if (saving_.joinable()) saving_.join();
  save_running_ = true;
  saving_ = std::thread([this, snapshot = std::move(snapshot)]() mutable {
    outcomes_.push_back(run_save(snapshot));
    snapshot = {};  // the buffers are free before anyone learns of the end
    save_running_ = false;
  });
}

std::vector<SaveOutcome> Checkpointer::finished() {
  return save_running_ ? std::vector<SaveOutcome>() : wait();
}

std::vector<SaveOutcome> Checkpointer::wait() {
  if (saving_.joinable()) saving_.join();
  return std::exchange(outcomes_, {});
}

// Everything that can go wrong while saving ends here, as an outcome.
SaveOutcome Checkpointer::run_save(const Snapshot& snapshot) {
  auto start = std::chrono::steady_clock::now();
  SaveOutcome outcome{.step = snapshot.step, .error = "", .seconds = 0, .bytes = 0};
  try {
    TITAN_CHECK(!config_.load_only, "checkpoint.load_only is set");
    make_writable();
    if (deleting_.joinable()) deleting_.join();  // it may be clearing the name that is to be filled
    if (snapshot.wait_until_ready) snapshot.wait_until_ready();
    fs::path target = step_path(config_.folder, snapshot.step);
    if (snapshot.in_hugging_face) {
      PendingDirectory directory(files_, target);
      outcome.bytes = export_hugging_face(
          files_, MemorySource(snapshot.model),
          ModelDescription::from_json(snapshot.model_description), directory.path(),
          {.dtype = snapshot.export_dtype, .tokenizer_folder = snapshot.tokenizer_folder});
      directory.publish();
      delete_in_background({directory.replaced()});
    } else {
      PendingDirectory directory(files_, target, {"model", "optim"});
      outcome.bytes = write_checkpoint(files_, directory.path(), snapshot);
      directory.publish();
      purge(snapshot.step, directory.replaced());
    }
  } catch (const std::exception& error) {
    outcome.error = error.what();
  }
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  char cost[64];
  std::snprintf(cost, sizeof cost, "%.2f GiB in %.2f s",
                static_cast<double>(outcome.bytes) / (1 << 30), outcome.seconds);
  if (outcome.ok()) {
    log::info(concat("Saved checkpoint step-", snapshot.step, " (", cost, ")"));
  } else {
    log::error(concat("Checkpoint step-", snapshot.step, " was NOT saved: ", outcome.error,
                      "; earlier checkpoints are untouched"));
  }
  return outcome;
}

void Checkpointer::make_writable() {
  if (lock_.held()) return;
  create_directories(files_, config_.folder);
  FolderLock lock = FolderLock::acquire(config_.folder);
  for (const auto& [step, path] : find_steps(config_.folder)) {
    fs::path name = step_path(config_.folder, step);
    if (path == name) continue;
    log::warning(concat("restoring checkpoint step-", step,
                        ", which was being replaced when its job ended"));
    files_.rename(path, name);
  }
  delete_in_background(find_leftovers(config_.folder));
  lock_ = std::move(lock);
}

// After a commit: points `latest` at it and takes away what is not to be kept. The checkpoint is
// safe by now, so trouble here is a warning. Higher steps than this one come from an earlier run
// and are left alone.
void Checkpointer::purge(int64_t newest, fs::path replaced) {
  std::vector<fs::path> rubbish = {std::move(replaced)};
  try {
    replace_file(files_, config_.folder / "latest", concat("step-", newest, "\n"));
    std::vector<int64_t> complete;
    for (const auto& [step, path] : find_steps(config_.folder)) {
      if (step <= newest && fs::exists(path / kManifestName)) complete.push_back(step);
    }
    size_t keep =
        config_.keep_latest_k == 0 ? complete.size() : static_cast<size_t>(config_.keep_latest_k);
    std::vector<fs::path> trash;
    for (size_t i = 0; i + keep < complete.size(); ++i) {
      if (complete[i] == loaded_step_) continue;
      trash.push_back(config_.folder / concat(".trash-", complete[i]));
      files_.rename(step_path(config_.folder, complete[i]), trash.back());
    }
    // Before deleting: no step may be found half deleted under its own name.
    if (!trash.empty()) files_.sync_directory(config_.folder);
    rubbish.insert(rubbish.end(), trash.begin(), trash.end());
  } catch (const std::exception& error) {
    log::warning(concat("while tidying up after checkpoint step-", newest, ": ", error.what()));
  }
  delete_in_background(std::move(rubbish));
}

void Checkpointer::delete_in_background(std::vector<fs::path> paths) {
  if (deleting_.joinable()) deleting_.join();
  deleting_ = std::thread([this, paths = std::move(paths)] {
    for (const fs::path& path : paths) {
      try {
        files_.remove_all(path);
      } catch (const std::exception& error) {
        log::warning(error.what());
      }
    }
  });
}

std::vector<int64_t> Checkpointer::steps() const {
  std::vector<int64_t> newest_first;
  for (const auto& [step, path] : find_steps(config_.folder)) {
    newest_first.insert(newest_first.begin(), step);
  }
  return newest_first;
}

std::unique_ptr<CheckpointReader> Checkpointer::open(int64_t step, const fs::path& path) {
  auto reader = std::make_unique<CheckpointReader>(path);
  if (reader->manifest().step != step) {
    throw CorruptCheckpoint(
        concat(path.string(), " holds the manifest of step ", reader->manifest().step));
  }
  loaded_step_ = step;
  return reader;
}

std::unique_ptr<CheckpointReader> Checkpointer::open_step(int64_t step) {
  if (saving_.joinable()) saving_.join();
  std::map<int64_t, fs::path> steps = find_steps(config_.folder);
  auto found = steps.find(step);
  if (found == steps.end()) {
    std::string available;
    for (const auto& [other, path] : steps)
      available += concat(available.empty() ? "" : ", ", other);
    throw InputError(concat("there is no checkpoint of step ", step, " in ",
                            config_.folder.string(),
                            available.empty() ? "; it holds none" : "; steps there: ", available));
  }
  auto reader = open(step, found->second);
  if (steps.rbegin()->first > step) {
    log::warning(concat(
        "checkpoint step-", steps.rbegin()->first, " is newer than step-", step,
        ", the one loaded, and stays: a later run without checkpoint.load_step would load it"));
  }
  return reader;
}

std::optional<int64_t> Checkpointer::load_latest(
    const std::function<void(const CheckpointReader&)>& load) {
  if (saving_.joinable()) saving_.join();
  std::map<int64_t, fs::path> steps = find_steps(config_.folder);
  if (steps.empty()) return std::nullopt;
  std::string reasons;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      load(*open(step->first, step->second));
      return step->first;
    } catch (const CorruptCheckpoint& error) {
      log::warning(
          concat("checkpoint step-", step->first, " is not valid and skipped: ", error.what()));
      reasons += concat("\n  step-", step->first, ": ", error.what());
    }
  }
  throw InputError(
      concat("no checkpoint in ", config_.folder.string(),
             " is valid; repair one, or choose another checkpoint.folder to start anew:", reasons));
}

}  // namespace titan
