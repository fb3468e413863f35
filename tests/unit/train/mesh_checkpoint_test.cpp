// What one mesh saves another loads: weights and moments bit for bit, and the same losses from
// there on.
#include <filesystem>
#include <future>

#include "lib/base/error.hpp"
#include "lib/train/run_checkpoints.hpp"
#include "tests/unit/train/mesh_run.hpp"

namespace titan {
namespace {

using ::testing::HasSubstr;
using testing::loss_and_gradients;
using testing::MeshModel;
using testing::NamedTensors;
using testing::on_every_rank;
using testing::put_together;
namespace fs = std::filesystem;

constexpr int64_t kSeqLen = 16;
constexpr int64_t kRows = 12;  // sequences of a step over all ranks: 1, 2, 3 and 4 divide them
constexpr int64_t kSavedStep = 2, kMoreSteps = 5;

const std::vector<MeshShape> kMeshes = {{1, 1, 1}, {1, 2, 1}, {2, 1, 1}, {1, 1, 2}, {1, 3, 1},
                                        {1, 4, 1}, {2, 2, 1}, {1, 1, 4}, {1, 2, 2}, {2, 1, 2}};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "titan_mesh_XXXXXX").string();
    TITAN_CHECK(::mkdtemp(name.data()) != nullptr, "no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

JobConfig job_in(const fs::path& dump_folder) {
  JobConfig job;
  job.job.dump_folder = dump_folder;
  job.checkpoint.enable = true;
  job.checkpoint.interval = kSavedStep;
  job.checkpoint.async_mode = config::AsyncMode::kAsync;
  return job;
}

DecoderConfig model_config() {
  return registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = kVocab + 3, .seq_len = 64});
}

// The whole state by name, as the ranks hold it together.
struct WholeState {
  NamedTensors masters, exp_avg, exp_avg_sq;
  std::vector<double> losses;  // of the steps that followed

  void put(Sharder& sharder) {
    put_together(
        sharder, [](const Parameter& parameter) { return parameter.master; }, masters);
    put_together(
        sharder, [](const Parameter& parameter) { return parameter.exp_avg; }, exp_avg);
    put_together(
        sharder, [](const Parameter& parameter) { return parameter.exp_avg_sq; }, exp_avg_sq);
  }
};

// Of all steps; drawn once, since the generator is the process's.
const MicroBatch& batch_of(int64_t step) {
  static const std::vector<MicroBatch> batches = [] {
    std::vector<MicroBatch> drawn;
    for (uint64_t seed = 0; seed <= kSavedStep + kMoreSteps; ++seed) {
      drawn.push_back(random_batch(kRows, kSeqLen, seed));
    }
    return drawn;
  }();
  return batches.at(static_cast<size_t>(step));
}

// Steps [first, last]; the losses of the whole mesh.
std::vector<double> train(MeshModel& model, int64_t first, int64_t last) {
  std::vector<double> losses;
  for (int64_t step = first; step <= last; ++step) {
    const at::Tensor loss = loss_and_gradients(model, {batch_of(step)});
    losses.push_back(loss.item<double>());
    model.optimizer.step(/*learning_rate=*/1e-3, loss);
    model.sharder.release_gradients();
  }
  return losses;
}

WholeState train_and_save(const MeshShape& shape, const JobConfig& job,
                          const SharderConfig& sharding = in_fp32()) {
  WholeState state;
  on_every_rank(shape.size(), [&](World& world) {
    MeshModel model(model_config(), sharding, shape, world);
    RunCheckpoints checkpoints(job, model.config, model.sharder, model.optimizer, model.device,
                               world);
    EXPECT_EQ(checkpoints.load(), std::nullopt);
    train(model, 1, kSavedStep);
    const std::string place = concat("dp_rank_", model.mesh.data_rank());
    checkpoints.save_sync(RunCheckpoints::Reason::kPeriodic,
                          {.step = kSavedStep,
                           .tokens_seen = 77,
                           .data = {{"order", "per_rank"}, {place, model.mesh.data_rank()}}},
                          /*seed=*/5);
    state.put(model.sharder);
    checkpoints.order_before_update();
    // The save goes on behind these.
    const std::vector<double> losses = train(model, kSavedStep + 1, kSavedStep + kMoreSteps);
    checkpoints.finish_sync();
    if (world.rank() == 0) state.losses = losses;
  });
  return state;
}

WholeState load(const MeshShape& shape, const JobConfig& job, int64_t saving_data_ranks,
                bool train_on, const SharderConfig& sharding = in_fp32()) {
  WholeState state;
  on_every_rank(shape.size(), [&](World& world) {
    MeshModel model(model_config(), sharding, shape, world);
    model.sharder.initialise(/*seed=*/99);
    RunCheckpoints checkpoints(job, model.config, model.sharder, model.optimizer, model.device,
                               world);
    const std::optional<ResumeState> resume = checkpoints.load();
    ASSERT_TRUE(resume);
    EXPECT_EQ(resume->step, kSavedStep);
    EXPECT_EQ(resume->tokens_seen, 77);
    EXPECT_EQ(resume->seed, 5u);
    EXPECT_EQ(resume->data.at("order"), "per_rank");
    EXPECT_EQ(resume->data.size(), 1 + static_cast<size_t>(saving_data_ranks));
    for (int64_t rank = 0; rank < saving_data_ranks; ++rank) {
      EXPECT_EQ(resume->data.at(concat("dp_rank_", rank)), rank);
    }
    state.put(model.sharder);
    if (!train_on) return;
    const std::vector<double> losses = train(model, kSavedStep + 1, kSavedStep + kMoreSteps);
    if (world.rank() == 0) state.losses = losses;
  });
  return state;
}

void expect_equal(const NamedTensors& found, const NamedTensors& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(found.at(name).equal(tensor)) << name;
}

std::string name_of(const MeshShape& mesh) {
  return concat("replicate", mesh.dp_replicate, "_shard", mesh.dp_shard, "_tp", mesh.tp);
}

class CheckpointOfMesh : public ::testing::TestWithParam<MeshShape> {};

TEST_P(CheckpointOfMesh, IsLoadedByEveryOther) {
  TemporaryFolder folder;
  JobConfig job = job_in(folder.path());
  const WholeState saved = train_and_save(GetParam(), job);
  job.checkpoint.load_only = true;
  for (const MeshShape& other : kMeshes) {
    SCOPED_TRACE(name_of(other));
    // The losses of the steps after it: on this mesh and on one rank.
    const bool train_on = other == GetParam() || other.size() == 1;
    const WholeState loaded = load(other, job, GetParam().data_ranks(), train_on);
    expect_equal(loaded.masters, saved.masters);
    expect_equal(loaded.exp_avg, saved.exp_avg);
    expect_equal(loaded.exp_avg_sq, saved.exp_avg_sq);
    for (size_t i = 0; i < loaded.losses.size(); ++i) {
      EXPECT_NEAR(loaded.losses[i], saved.losses[i], 1e-5) << "step " << kSavedStep + 1 + i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Meshes, CheckpointOfMesh, ::testing::ValuesIn(kMeshes),
                         [](const auto& info) { return name_of(info.param); });

TEST(CheckpointOfMesh, InBf16IsLoadedByOthers) {
  TemporaryFolder folder;
  JobConfig job = job_in(folder.path());
  job.training.dtype = config::Dtype::kBfloat16;
  job.optimizer.state_dtype = config::Dtype::kBfloat16;
  SharderConfig sharding = with_bf16_moments(in_bf16());
  sharding.parameter_dtype = at::kBFloat16;
  const WholeState saved = train_and_save({1, 2, 2}, job, sharding);
  EXPECT_EQ(saved.masters.at("norm.weight").scalar_type(), at::kBFloat16);
  EXPECT_EQ(saved.exp_avg.at("norm.weight").scalar_type(), at::kBFloat16);
  job.checkpoint.load_only = true;
  for (const MeshShape& other : {MeshShape{1, 1, 1}, MeshShape{1, 3, 1}}) {
    const WholeState loaded = load(other, job, 2, /*train_on=*/false, sharding);
    expect_equal(loaded.masters, saved.masters);
    expect_equal(loaded.exp_avg, saved.exp_avg);
    expect_equal(loaded.exp_avg_sq, saved.exp_avg_sq);
  }
}

// The ranks of a second replica write nothing and have no such memory.
TEST(CheckpointOfMesh, IsTheSameFromMemoryThatIsKept) {
  for (const MeshShape& shape : {MeshShape{1, 3, 1}, MeshShape{2, 1, 2}}) {
    TemporaryFolder folder;
    JobConfig job = job_in(folder.path());
    job.checkpoint.async_mode = config::AsyncMode::kAsyncWithPinnedMem;
    const WholeState saved = train_and_save(shape, job);
    job.checkpoint.load_only = true;
    const WholeState loaded = load({1, 1, 1}, job, shape.data_ranks(), /*train_on=*/false);
    expect_equal(loaded.masters, saved.masters);
    expect_equal(loaded.exp_avg, saved.exp_avg);
    expect_equal(loaded.exp_avg_sq, saved.exp_avg_sq);
  }
}

TEST(CheckpointOfMesh, ReplicasAreWrittenOnce) {
  TemporaryFolder folder;
  train_and_save({2, 1, 2}, job_in(folder.path()));
  const fs::path step = folder.path() / "checkpoint" / concat("step-", kSavedStep);
  const CheckpointReader reader(step);  // which refuses chunks that overlap
  std::map<std::string, size_t> files;
  for (const FileRecord& file : reader.manifest().files) {
    if (file.part == Part::kModel) files[file.name] = file.chunks.size();
  }
  // Of the four ranks the first two, along tp; the three norms by the first.
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files.begin()->second, files.rbegin()->second + 3);
}

TEST(CheckpointOfMesh, OneRanksInfinityKeepsAllFromSaving) {
  TemporaryFolder folder;
  const JobConfig job = job_in(folder.path());
  on_every_rank(3, [&](World& world) {
    MeshModel model(model_config(), in_fp32(), {1, 3, 1}, world);
    RunCheckpoints checkpoints(job, model.config, model.sharder, model.optimizer, model.device,
                               world);
    model.sharder.allocate_moments();
    if (world.rank() == 1) model.sharder.parameters().back()->master[0][0] = INFINITY;
    const ResumeState state{.step = kSavedStep};
    checkpoints.save_sync(RunCheckpoints::Reason::kPeriodic, state, 5);
    checkpoints.finish_sync();
    EXPECT_TRUE(checkpoints.due(RunCheckpoints::Reason::kPeriodic, kSavedStep)) << "not saved";
  });
  EXPECT_FALSE(fs::exists(folder.path() / "checkpoint" / concat("step-", kSavedStep)));
}

TEST(CheckpointOfMesh, RanksAtDifferentPlacesInTheDataAreAnError) {
  TemporaryFolder folder;
  const JobConfig job = job_in(folder.path());
  auto save = [&] {
    on_every_rank(2, [&](World& world) {
      MeshModel model(model_config(), in_fp32(), {1, 2, 1}, world);
      RunCheckpoints checkpoints(job, model.config, model.sharder, model.optimizer, model.device,
                                 world);
      checkpoints.save_sync(
          RunCheckpoints::Reason::kPeriodic,
          {.step = kSavedStep, .data = {{"order", "global"}, {"sample", 40 + world.rank()}}}, 5);
    });
  };
  EXPECT_THAT(message_of<Error>(save), HasSubstr("its loader's \"sample\" is 41, theirs 40"));
}

// Rank 1 exchanges what precedes a save and never comes to the save itself.
TEST(CheckpointOfMesh, AfterAnExceptionNobodyWaitsLongForASave) {
  TemporaryFolder folder;
  JobConfig job = job_in(folder.path());
  job.comm.train_timeout_seconds = 1;
  std::promise<void> left;
  auto run = [&](World& world) {
    MeshModel model(model_config(), in_fp32(), {1, 2, 1}, world);
    if (world.rank() == 1) {
      const auto before = world.host_group("checkpoint"), saving = world.host_group("saving");
      saving->barrier();     // the folder is locked
      before->exchange("");  // nothing of it is infinite
      before->exchange("null");
      return left.get_future().wait();
    }
    RunCheckpoints checkpoints(job, model.config, model.sharder, model.optimizer, model.device,
                               world);
    checkpoints.save_sync(RunCheckpoints::Reason::kPeriodic, {.step = kSavedStep}, 5);
    throw Error("the step failed");
  };
  const auto start = std::chrono::steady_clock::now();
  auto run_and_tell = [&](World& world) {
    try {
      run(world);
    } catch (...) {
      left.set_value();
      throw;
    }
  };
  EXPECT_EQ(message_of<Error>([&] { on_every_rank(2, run_and_tell); }), "the step failed");
  const auto seconds = std::chrono::steady_clock::now() - start;
  EXPECT_GE(seconds, std::chrono::seconds(1));
  EXPECT_LT(seconds, std::chrono::seconds(20));
}

}  // namespace
}  // namespace titan
