// A run's checkpoints: what of the training state is saved and loaded, and when. The files are
// lib/checkpoint's affair; here the tensors travel between device and host.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "lib/checkpoint/checkpointer.hpp"
#include "lib/config/job_config.hpp"
#include "lib/model/decoder_config.hpp"
#include "lib/optim/optimizer.hpp"
#include "lib/parallel/sharder.hpp"

namespace titan {

// What a resumed run goes on from, beside the tensors.
struct ResumeState {
  int64_t step = 0;
  int64_t tokens_seen = 0;
  nlohmann::json data;  // DataLoader::state(); null where there is none
};

class RunCheckpoints {
 public:
  // References outlive the object. Does nothing at all when checkpoint.enable is off.
  RunCheckpoints(const JobConfig& job, const DecoderConfig& model, Sharder& sharder,
                 Optimizer& optimizer, const ops::Device& device);
  ~RunCheckpoints();

  // Loads what the job asks for: its own newest (or load_step) checkpoint, else initial_load_path.
  // Nothing when it starts fresh. Throws InputError.
  std::optional<ResumeState> load();

  enum class Reason {
    kPeriodic,  // saves when the interval says so
    kLast,      // the last step: model only where the job says so, and waits until it is on disk
    kSignal,    // asked to stop: the full state, waits until it is on disk
  };
  // Between optimizer steps. A failed save is logged, and training goes on.
  void save_sync(Reason reason, const ResumeState& resume, uint64_t seed);
  // Whether save_sync would save.
  bool due(Reason reason, int64_t step) const;

  // Logs the outcomes of background saves that have ended.
  void report_finished();
  // Waits for a save in flight and logs its outcome.
  void finish_sync();

 private:
  struct Copies;  // host copies of the state, as a save in flight reads them

  std::shared_ptr<Copies> copy_state(bool with_optimizer, bool in_background);
  void load_parameters(const TensorSource& model, const TensorSource* optimizer);
  void load_initial(const std::string& path);
  ResumeState load_own(const CheckpointReader& reader);
  bool excluded(const char* what) const;
  void report(const SaveOutcome& outcome) const;

  const JobConfig& job_;
  const DecoderConfig& model_;
  Sharder& sharder_;
  Optimizer& optimizer_;
  const ops::Device& device_;
  std::optional<Checkpointer> checkpointer_;
  std::optional<int64_t> last_saved_step_;
};

}  // namespace titan
