// What auto_filter_measured has measured, as a table in the run's folder: a resumed run decides by
// the same times as the run before it, as long as they are of the same device, versions, recipe
// and shapes. Rank 0 reads it, measures what it lacks and tells the others, so that all decide
// alike; they ask in the same order.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/config/job_config.hpp"
#include "lib/model/measured_filter.hpp"
#include "lib/ops/device.hpp"
#include "lib/parallel/host_group.hpp"
#include "lib/parallel/mesh.hpp"

namespace titan {

class Float8Measurements {
 public:
  // `made_with`: a flat object of all that the times depend on but the shapes. Reads `file` when
  // first asked for a measurement. `ranks` outlives this object.
  Float8Measurements(std::filesystem::path file, nlohmann::ordered_json made_with,
                     TimeLinearGroup time, HostGroup& ranks);
  // <dump_folder>/float8_measurements.json, timed on rank 0's device.
  Float8Measurements(const JobConfig& job, const ops::Device& device, const MeshShape& mesh,
                     HostGroup& ranks);

  // Measures from the file where it holds this kind with these candidates, else by timing it. One
  // line in the log says that the file is used, or why it is not. Empty where nothing can be timed;
  // valid as long as this object. A call of it is collective.
  MeasureGroup measurer();
  // After the last measurement: says how long they took and gives the device's memory back.
  void finish() const;

  size_t timed() const { return timed_; }  // kinds that the file did not give; on rank 0
  const std::filesystem::path& file() const { return file_; }
  // The table of all that was asked for; empty if nothing was.
  std::string text() const;
  // Writes the table, or nothing where nothing was measured.
  void save() const;

 private:
  GroupMeasurement measure(const LinearGroupKind& kind, const Float8Members& candidates);
  GroupMeasurement measure_here(const LinearGroupKind& kind, const Float8Members& candidates);
  void read_file_once();

  std::filesystem::path file_;
  nlohmann::ordered_json made_with_;
  TimeLinearGroup time_;
  HostGroup& ranks_;
  bool read_ = false, missed_ = false;
  std::vector<GroupMeasurement> known_;  // from the file
  std::vector<GroupMeasurement> groups_;
  size_t timed_ = 0;
  double seconds_ = 0;
};

// Times groups for the job on this device; empty where that says nothing: on the CPU, or when
// float8 is emulated.
TimeLinearGroup linear_timer(const JobConfig& job, const ops::Device& device,
                             const MeshShape& mesh = {});

nlohmann::ordered_json to_json(const GroupMeasurement& measurement);
// Throws Error for what to_json() does not write.
GroupMeasurement measurement_from(const nlohmann::ordered_json& json);

}  // namespace titan
