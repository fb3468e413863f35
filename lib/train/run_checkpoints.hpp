// A run's checkpoints: what of the training state is saved and loaded, and when. The files are
// lib/checkpoint's affair; here the tensors travel between device and host. Every rank saves and
// loads its own part of them, and calls the same methods at the same steps.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lib/checkpoint/checkpointer.hpp"
#include "lib/config/job_config.hpp"
#include "lib/model/decoder_config.hpp"
#include "lib/optim/optimizer.hpp"
#include "lib/parallel/host_group.hpp"
#include "lib/parallel/sharder.hpp"
#include "lib/parallel/world.hpp"
#include "lib/train/host_copies.hpp"

namespace titan {

// What a resumed run goes on from, beside the tensors.
struct ResumeState {
  int64_t step = 0;
  int64_t tokens_seen = 0;
  // To be saved: this rank's DataLoader::state(). Loaded: that of all ranks. Null where there is
  // none.
  nlohmann::json data = {};
  std::optional<uint64_t> seed = {};  // the run's; loading sets it
};

class RunCheckpoints {
 public:
  // References outlive the object. Does nothing at all when checkpoint.enable is off. Throws
  // InputError when a host lacks the memory of async_with_pinned_mem, which else is made in the
  // background from here on.
  RunCheckpoints(const JobConfig& job, const DecoderConfig& model, Sharder& sharder,
                 Optimizer& optimizer, const ops::Device& device, World& world);
  // Waits for a save in flight; after an exception among many ranks, of which one may never answer,
  // no longer than a step may take.
  ~RunCheckpoints();

  // Loads what the job asks for: its own newest (or load_step) checkpoint, else initial_load_path.
  // Nothing when it starts fresh. Throws InputError.
  std::optional<ResumeState> load();

  // Locks the memory of async_with_pinned_mem once it is there on all ranks: between steps, not in
  // the first one, whose matmul plans are timed. A save that comes earlier waits. Throws InputError.
  void lock_filled_memory();

  enum class Reason {
    kPeriodic,  // saves when the interval says so
    kLast,      // the last step: model only where the job says so, and waits until it is on disk
    kSignal,    // asked to stop: the full state, waits until it is on disk
  };
  // Between optimizer steps. A failed save is logged, and training goes on. Returns why the step is
  // not on disk, as far as is known on return, or "".
  std::string save_sync(Reason reason, const ResumeState& resume, uint64_t seed);
  // Whether save_sync would save.
  bool due(Reason reason, int64_t step) const;

  // Before an update: what a save in flight still copies from the device must not change under it.
  void order_before_update() const;
  // Logs the outcomes of background saves that have ended.
  void report_finished();
  // Waits for a save in flight and logs its outcome.
  void finish_sync();

 private:
  void reserve_pinned_memory();
  HostCopies::Kind copy_kind(bool in_background) const;
  void load_parameters(const TensorSource& model, const TensorSource* optimizer);
  void load_hugging_face(const std::string& path);
  void load_initial(const std::string& path);
  ResumeState load_own(const CheckpointReader& reader);
  bool excluded(const char* what) const;
  // The name of a parameter in which some rank has a NaN or an infinity, or "".
  std::string non_finite_parameter_sync();
  void warn(const std::string& message) const;  // on rank 0
  // A step that was not saved may be saved again.
  void note(const std::vector<SaveOutcome>& outcomes);

  const JobConfig& job_;
  const DecoderConfig& model_;
  Sharder& sharder_;
  Optimizer& optimizer_;
  World& world_;
  std::unique_ptr<HostGroup> group_;    // the training thread's
  std::unique_ptr<HostCopies> copies_;  // outlives the checkpointer, whose thread reads it
  std::unique_ptr<Checkpointer> checkpointer_;
  std::optional<int64_t> last_saved_step_;
  bool memory_is_locked_ = false;  // of async_with_pinned_mem, on all ranks
};

}  // namespace titan
