#include "lib/checkpoint/checkpointer.hpp"

#include <chrono>
#include <cstdio>
#include <sstream>
#include <system_error>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/checkpoint/pending_directory.hpp"
#include "lib/checkpoint/write_snapshot.hpp"
#include "lib/parallel/agree.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

// "9.00 GiB in 6.00 s, 1.50 GiB/s"
std::string cost_text(uint64_t bytes, double seconds) {
  const double gib = static_cast<double>(bytes) / (1 << 30);
  char text[80];
  std::snprintf(text, sizeof text, "%.2f GiB in %.2f s, %.2f GiB/s", gib, seconds,
                seconds > 0 ? gib / seconds : 0);
  return text;
}

}  // namespace

Checkpointer::Checkpointer(Config config, FileSystem& files, std::unique_ptr<HostGroup> group)
    : config_(std::move(config)), files_(files), group_(std::move(group)) {
  if (config_.keep_latest_k < 0 || config_.keep_latest_k == 1) {
    throw InputError(
        concat("checkpoint.keep_latest_k = ", config_.keep_latest_k,
               ": expected 0 (keep all) or at least 2, since the last one may be damaged"));
  }
  if (config_.load_only) return;
  on_first_rank(*group_, [this] {
    try {
      make_writable();
    } catch (const InputError&) {
      throw;
    } catch (const Error& error) {
      std::error_code none;
      if (!fs::exists(config_.folder, none)) {
        throw InputError(concat("no checkpoint can be saved: ", error.what(),
                                "; choose a job.dump_folder in which this user may write, or set "
                                "checkpoint.enable to false"));
      }
      log::warning(concat("checkpoints cannot be saved for now: ", error.what()));
    }
    return std::string();
  });
}

Checkpointer::~Checkpointer() { wait(); }

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
    outcome.bytes = write_and_publish(snapshot);
  } catch (const std::exception& error) {
    outcome.error = error.what();
  }
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  if (!is_first()) return outcome;
  if (outcome.ok()) {
    log::info(concat("Saved checkpoint step-", snapshot.step, " (",
                     cost_text(outcome.bytes, outcome.seconds), ")"));
  } else {
    log::error(concat("Checkpoint step-", snapshot.step, " was NOT saved: ", outcome.error,
                      "; earlier checkpoints are untouched"));
  }
  return outcome;
}

uint64_t Checkpointer::write_and_publish(const Snapshot& snapshot) {
  // Rank 0's: where it goes out of scope unpublished, all that was written disappears.
  std::optional<PendingDirectory> pending;
  const fs::path directory = on_first_rank(*group_, [&] {
    make_writable();
    if (deleting_.joinable()) deleting_.join();  // it may be clearing the name that is to be filled
    pending.emplace(files_, step_path(config_.folder, snapshot.step));
    return pending->path().string();
  });
  const uint64_t bytes = write_snapshot(files_, *group_, snapshot, directory);
  on_first_rank(*group_, [&] {
    if (!snapshot.in_hugging_face) keep_export(snapshot.step);
    pending->publish();
    if (snapshot.in_hugging_face) {
      delete_in_background({pending->replaced()});
    } else {
      purge(snapshot.step, pending->replaced());
    }
    return std::string();
  });
  return bytes;
}

// A Hugging Face model in the step's place is what an earlier run ended with, and no rerun's to
// delete.
void Checkpointer::keep_export(int64_t step) {
  const fs::path path = step_path(config_.folder, step);
  if (!fs::exists(path / "config.json") || fs::exists(path / kManifestName)) return;
  const std::string name = concat(path.string(), "-hugging-face");
  fs::path kept = name;
  for (int copy = 2; fs::exists(kept); ++copy) kept = concat(name, "-", copy);
  files_.rename(path, kept);
  log::warning(concat(path.string(), " holds a Hugging Face model, which is kept as ",
                      kept.filename().string()));
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
  deleting_ = std::jthread([this, paths = std::move(paths)] {
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

// The steps as rank 0 finds them.
std::map<int64_t, fs::path> Checkpointer::agreed_steps() {
  std::istringstream lines(on_first_rank(*group_, [this] {
    std::string text;
    for (const auto& [step, path] : find_steps(config_.folder)) {
      text += concat(step, " ", path.filename().string(), "\n");
    }
    return text;
  }));
  std::map<int64_t, fs::path> steps;
  int64_t step;
  for (std::string name; lines >> step >> name;) steps.emplace(step, config_.folder / name);
  return steps;
}

// Every rank reads its part. Returns the first rank's damage, or "".
std::string Checkpointer::load_together(int64_t step, const fs::path& path, const Load& load) {
  const std::vector<std::string> damage = on_all_ranks(*group_, [&]() -> std::string {
    std::error_code error;
    if (!is_first() && !fs::is_directory(path, error)) {
      throw InputError(concat(path.string(), ", which rank 0 has found, is not to be seen here: ",
                              "checkpoint.folder must be on a file system that all hosts share"));
    }
    try {
      CheckpointReader reader(path);
      if (reader.manifest().step != step) {
        throw CorruptCheckpoint(
            concat(path.string(), " holds the manifest of step ", reader.manifest().step));
      }
      load(reader);
    } catch (const CorruptCheckpoint& corrupt) {
      return corrupt.what();
    }
    return "";
  });
  for (size_t rank = 0; rank < damage.size(); ++rank) {
    if (damage[rank].empty()) continue;
    return damage.size() == 1 ? damage[rank] : concat("rank ", rank, ": ", damage[rank]);
  }
  loaded_step_ = step;
  return "";
}

void Checkpointer::load_step(int64_t step, const Load& load) {
  if (saving_.joinable()) saving_.join();
  const std::map<int64_t, fs::path> steps = agreed_steps();
  auto found = steps.find(step);
  if (found == steps.end()) {
    std::string available;
    for (const auto& [other, path] : steps)
      available += concat(available.empty() ? "" : ", ", other);
    throw InputError(concat("there is no checkpoint of step ", step, " in ",
                            config_.folder.string(),
                            available.empty() ? "; it holds none" : "; steps there: ", available));
  }
  const std::string damage = load_together(step, found->second, load);
  if (!damage.empty()) throw CorruptCheckpoint(damage);
  if (is_first() && steps.rbegin()->first > step) {
    log::warning(concat(
        "checkpoint step-", steps.rbegin()->first, " is newer than step-", step,
        ", the one loaded, and stays: a later run without checkpoint.load_step would load it"));
  }
}

std::optional<int64_t> Checkpointer::load_latest(const Load& load) {
  if (saving_.joinable()) saving_.join();
  const std::map<int64_t, fs::path> steps = agreed_steps();
  if (steps.empty()) return std::nullopt;
  std::string reasons;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const std::string damage = load_together(step->first, step->second, load);
    if (damage.empty()) return step->first;
    if (is_first()) {
      log::warning(concat("checkpoint step-", step->first, " is not valid and skipped: ", damage));
    }
    reasons += concat("\n  step-", step->first, ": ", damage);
  }
  throw InputError(
      concat("no checkpoint in ", config_.folder.string(),
             " is valid; repair one, or choose another checkpoint.folder to start anew:", reasons));
}

}  // namespace titan
