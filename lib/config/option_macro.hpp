// OPTION(training.steps, support, "meaning"): an Option whose path and member cannot drift apart,
// the path being the member expression itself. For the tables options_*.cpp only.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "lib/config/schema.hpp"

namespace titan::config {

// How a member of type T travels as a Value.
template <class T>
struct Codec {
  static Value encode(const T& member) {
    if constexpr (std::is_enum_v<T>) {
      return std::string(word(member));
    } else {
      return member;
    }
  }
  static T decode(const Value& value) {
    if constexpr (std::is_enum_v<T>) {
      const auto found = std::ranges::find(kWords<T>, std::get<std::string>(value));
      return static_cast<T>(found - kWords<T>.begin());
    } else {
      return std::get<T>(value);
    }
  }
  static void describe(Option& option) {
    if constexpr (std::is_enum_v<T>) {
      option.type = Type::kString;
      option.words.assign(kWords<T>.begin(), kWords<T>.end());
    } else if constexpr (std::is_same_v<T, bool>) {
      option.type = Type::kBool;
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
      option.type = Type::kInt;
    } else if constexpr (std::is_same_v<T, double>) {
      option.type = Type::kFloat;
    } else if constexpr (std::is_same_v<T, std::string>) {
      option.type = Type::kString;
    } else if constexpr (std::is_same_v<T, Strings>) {
      option.type = Type::kList;
    } else {
      static_assert(std::is_same_v<T, std::vector<Strings>>);
      option.type = Type::kListOfLists;
    }
  }
};

template <class T>
struct Codec<std::optional<T>> {
  static Value encode(const std::optional<T>& member) {
    return member ? Codec<T>::encode(*member) : Value(None{});
  }
  static std::optional<T> decode(const Value& value) {
    if (std::holds_alternative<None>(value)) return std::nullopt;
    return Codec<T>::decode(value);
  }
  static void describe(Option& option) {
    Codec<T>::describe(option);
    option.optional = true;
  }
};

template <class T>
Option make_option(std::string_view path, T& (*member)(JobConfig&), Support support,
                   std::string_view doc) {
  Option option;
  option.path = path;
  option.doc = doc;
  option.support = support;
  Codec<T>::describe(option);
  option.get = [member](const JobConfig& job) {
    return Codec<T>::encode(member(const_cast<JobConfig&>(job)));  // only read
  };
  option.set = [member](JobConfig& job, const Value& value) {
    member(job) = Codec<T>::decode(value);
  };
  return option;
}

}  // namespace titan::config

#define OPTION(path, support, doc)                         \
  ::titan::config::make_option<decltype(JobConfig::path)>( \
      #path, [](JobConfig & job) -> auto& { return job.path; }, support, doc)
