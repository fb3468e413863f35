// titan-train: reads a job, trains, and turns every outcome into an exit code:
//   0 done (also after SIGTERM), 1 failed while running, 2 bad configuration, arguments or inputs
//   found before the first step, 128 + n killed by signal n.
#include <c10/util/Exception.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <thread>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/base/shipped.hpp"
#include "lib/config/check.hpp"
#include "lib/config/command_line.hpp"
#include "lib/config/compare.hpp"
#include "lib/config/dump.hpp"
#include "lib/config/help.hpp"
#include "lib/parallel/error_file.hpp"
#include "lib/parallel/launch.hpp"
#include "lib/parallel/peer_error.hpp"
#include "lib/parallel/world.hpp"
#include "lib/train/device_choice.hpp"
#include "lib/train/dump_folder.hpp"
#include "lib/train/from_job.hpp"
#include "lib/train/report.hpp"
#include "lib/train/trainer.hpp"
#include "lib/train/version.hpp"

namespace titan {
namespace {

constexpr int kDone = 0, kFailed = 1, kBadInput = 2;
constexpr const char* kFlightRecord = "TORCH_FR_DUMP_TEMP_FILE";

// Before any thread starts: setenv races with getenv elsewhere.
void set_environment() {
  setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", /*overwrite=*/0);
  setenv("KINETO_LOG_LEVEL", "5", 0);
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
}

// What NCCL's watchdog does when a rank is gone or hangs: first write down what every rank was
// doing (the flight recorder), then end the process. torchrun asks for the reverse.
void set_watchdog(const JobConfig& job) {
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "3", /*overwrite=*/1);
  setenv("TORCH_FR_BUFFER_SIZE", std::to_string(job.comm.trace_buf_size).c_str(), 1);
  if (job.comm.trace_buf_size == 0) return;
  const auto folder = std::filesystem::path(job.job.dump_folder) / job.comm.save_traces_folder;
  std::filesystem::create_directories(folder);
  setenv(kFlightRecord, (folder / job.comm.save_traces_file_prefix).c_str(), 1);
}

// ---- The end of the process ----

[[noreturn]] void end_process(int status) {
  log::flush();
  std::cout.flush();
  // Static objects of CUDA libraries must not outlive the driver: leave without their destructors.
  std::_Exit(status);
}

struct Failure {
  EndReason reason;
  bool of_another_rank = false;
};

// Of the exception that is being handled.
Failure current_failure() {
  try {
    throw;
  } catch (const InputError& error) {
    return {{kBadInput, error.what()}};
  } catch (const PeerError& error) {
    return {{kFailed, error.what()}, true};
  } catch (const c10::DistError& error) {  // NCCL's
    return {{kFailed, error.what_without_backtrace()}, true};
  } catch (const c10::Error& error) {
    return {{kFailed, error.what_without_backtrace()}};
  } catch (const std::exception& error) {
    return {{kFailed, error.what()}};
  } catch (...) {
    return {{kFailed, "ended by what is no exception"}};
  }
}

const auto process_start = std::filesystem::file_time_type::clock::now();

// Names what NCCL's flight recorder has written, if it has.
std::string flight_record(int64_t rank) {
  const char* prefix = std::getenv(kFlightRecord);
  if (prefix == nullptr) return "";
  const std::string file = concat(prefix, rank);
  std::error_code none;
  const auto written = std::filesystem::last_write_time(file, none);
  if (none || written < process_start) return "";
  return concat("\nthe flight recorder's dump: ", file, " (torchfrtrace reads those of all ranks)");
}

// Says on stderr, in torchrun's summary and to the other ranks what went wrong, and ends the
// process. Called while that is being handled.
[[noreturn]] void fail(World* world) {
  static std::atomic_flag failing;
  if (failing.test_and_set()) std::this_thread::sleep_for(std::chrono::hours(1));  // first counts
  std::signal(SIGTERM, SIG_DFL);  // there is nothing left to save
  Failure failure = current_failure();
  std::string text = failure.reason.text;
  if (world != nullptr && world->size() > 1) {
    const int64_t rank = world->rank();
    if (failure.of_another_rank) failure.reason = world->ask_end_reason(text);
    text = concat("rank ", rank, failure.of_another_rank ? " ends, since " : ": ",
                  failure.reason.text, flight_record(rank));
  }
  std::cerr << concat("titan-train: ", text, "\n");  // at once: ranks share it
  write_error_file(std::getenv("TORCHELASTIC_ERROR_FILE"), text);
  if (world != nullptr) {
    if (!failure.of_another_rank) world->leave_end_reason(failure.reason);
    world->let_others_ask();
  }
  end_process(failure.reason.status);
}

std::atomic<World*> current_world = nullptr;

// Exceptions in threads that are not ours end here, such as those of NCCL's watchdog.
[[noreturn]] void on_terminate() {
  if (!std::current_exception()) std::abort();
  fail(current_world);
}

// ---- What the process does ----

// Rank 0 tells what happens, and those of a host that LOG_RANK names ("0,3"), which train.sh sets;
// all ranks tell what is wrong.
bool logs_info(const Launch& launch) {
  if (launch.rank == 0) return true;
  const char* chosen = std::getenv("LOG_RANK");
  if (chosen == nullptr) return false;
  std::istringstream list(chosen);
  for (std::string entry; std::getline(list, entry, ',');) {
    if (entry == std::to_string(launch.local_rank)) return true;
  }
  return false;
}

void require_equal_jobs(const JobConfig& job, World& world) {
  const std::vector<std::string> jobs = world.host_group("job")->exchange(config::to_json(job));
  const std::string differences = config::describe_differences(jobs);
  if (!differences.empty()) throw InputError(differences);
}

void save_config(const JobConfig& job) {
  if (!job.job.save_config_file) return;
  make_dump_folder(job);
  write_file_atomically(std::filesystem::path(job.job.dump_folder) / *job.job.save_config_file,
                        config::to_json(job) + "\n");
}

// The tokenizer of configs/debug.toml is there from any folder.
void find_tokenizer(std::string& path) {
  const std::string found = find_shipped(path);
  if (found != path) log::info(concat("model.hf_assets_path: ", path, " is ", found));
  path = found;
}

int dry_run(const config::CommandLine& command, const MeshShape& mesh) {
  const JobPlan plan = plan_job(command.config, mesh);
  std::cout << (command.json ? to_json(plan).dump(2) : describe(plan)) << "\n";
  return kDone;
}

void train(Trainer& trainer) {
  try {
    trainer.run();
  } catch (const InputError& error) {
    if (!trainer.started()) throw;
    throw Error(error.what());  // bad data met while running is a failure of the run
  }
}

int train(const config::CommandLine& command, const Launch& launch) {
  JobConfig job = command.config;
  for (const std::string& note : command.notes) log::info(note);
  if (job.job.print_config) log::info(concat("Running with configs: ", config::to_json(job)));
  for (const std::string& option : config::changed_options(job, command.origins)) {
    log::info(concat("option ", option));
  }
  ops::Device device = choose_device(job, launch);  // what it refuses leaves nothing behind
  if (launch.world_size > 1 && device.is_cuda()) {
    make_dump_folder(job);
    set_watchdog(job);
  }
  World world(launch, device, std::chrono::seconds(job.comm.init_timeout_seconds));
  current_world = &world;
  try {
    require_equal_jobs(job, world);
    if (launch.rank == 0) save_config(job);
    find_tokenizer(job.model.hf_assets_path);
    Trainer trainer(job, std::move(device), world);
    train(trainer);
  } catch (...) {
    fail(&world);
  }
  current_world = nullptr;
  return kDone;
}

int run(const config::CommandLine& command) {
  switch (command.mode) {
    case config::Mode::kHelp:
      std::cout << config::help_text();
      return kDone;
    case config::Mode::kVersion:
      std::cout << version_text();
      return kDone;
    case config::Mode::kPrintConfig:
      std::cout << (command.json ? config::to_json(command.config) + "\n"
                                 : config::to_toml(command.config));
      return kDone;
    default:
      break;
  }
  const bool dry = command.mode == config::Mode::kDryRun;
  const Launch launch = dry ? Launch() : find_launch(std::getenv);
  log::set_info_enabled(logs_info(launch));
  const int64_t world_size =
      dry ? command.world_size.value_or(config::smallest_world_size(command.config))
          : launch.world_size;
  const std::string ignored = config::check_supported(command.config, world_size, command.origins);
  const std::vector<std::string> warnings =
      config::check_consistent(command.config, world_size, command.origins);
  if (dry) return dry_run(command, mesh_shape(command.config, world_size));
  if (launch.rank == 0) {  // they are the same everywhere
    if (!ignored.empty()) log::warning(ignored);
    for (const std::string& warning : warnings) log::warning(warning);
  }
  return train(command, launch);
}

}  // namespace
}  // namespace titan

int main(int argc, char** argv) {
  std::set_terminate(titan::on_terminate);
  titan::set_environment();
  try {
    titan::end_process(titan::run(titan::config::parse_command_line(argc, argv)));
  } catch (...) {
    titan::fail(nullptr);
  }
}
