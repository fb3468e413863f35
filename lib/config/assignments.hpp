// Puts values from one source, a job file or a command line, into a JobConfig: checks range and
// words, maps old names, and finds an option set to different values under two of its names.
// Problems are collected, not thrown, so that a user sees all of them at once.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/config/schema.hpp"

namespace titan::config {

// What reading gathers over all sources.
struct Reading {
  JobConfig config;
  Origins origins;
  std::vector<std::string> notes;   // worth a line in the log
  std::vector<std::string> errors;  // each a full line

  // Throws InputError with all errors, if there are any.
  void throw_errors() const;
};

class Assignments {
 public:
  explicit Assignments(Reading& reading) : reading_(reading) {}

  // Sets an option to a value of its type. `name` is the spelling that was used, `where` its place.
  void set(const Option& option, Value value, std::string_view name, const std::string& where);

  // A key that no longer does anything.
  void drop(const DroppedOption& option, const std::string& where);

  // Adds "where: name: problem".
  void error(const std::string& where, std::string_view name, std::string_view problem);

 private:
  struct Earlier {
    Value value;
    std::string name;
    std::string where;
  };
  Reading& reading_;
  std::map<std::string_view, Earlier> earlier_;  // by option path
};

// After the last source: the old converter words become the present ones.
void expand_old_converters(Reading& reading);

}  // namespace titan::config
