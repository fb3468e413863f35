#include "lib/checkpoint/json_fields.hpp"

#include <limits>

#include "lib/base/error.hpp"

namespace titan {
namespace {

[[noreturn]] void wrong_type(std::string_view where, const std::string& key,
                             std::string_view expected) {
  throw InputError(concat(where, ": \"", key, "\" must be ", expected));
}

// As int64; nothing for other types and for what does not fit.
bool is_int64(const Json& value) {
  if (!value.is_number_integer()) return false;
  return !value.is_number_unsigned() ||
         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw InputError(concat(where, " is not valid JSON: ", error.what()));
  }
}

const Json& json_field(const Json& object, const std::string& key, std::string_view where) {
  if (!object.is_object())
    throw InputError(concat(where, ": expected an object with \"", key, "\""));
  auto found = object.find(key);
  if (found == object.end()) throw InputError(concat(where, ": \"", key, "\" is missing"));
  return *found;
}

int64_t json_int(const Json& object, const std::string& key, std::string_view where) {
  const Json& value = json_field(object, key, where);
  if (!is_int64(value)) wrong_type(where, key, "an integer");
  return value.get<int64_t>();
}

double json_double(const Json& object, const std::string& key, std::string_view where) {
  const Json& value = json_field(object, key, where);
  if (!value.is_number()) wrong_type(where, key, "a number");
  return value.get<double>();
}

bool json_bool(const Json& object, const std::string& key, std::string_view where) {
  const Json& value = json_field(object, key, where);
  if (!value.is_boolean()) wrong_type(where, key, "true or false");
  return value.get<bool>();
}

std::string json_string(const Json& object, const std::string& key, std::string_view where) {
  const Json& value = json_field(object, key, where);
  if (!value.is_string()) wrong_type(where, key, "a string");
  return value.get<std::string>();
}

std::vector<int64_t> json_extents(const Json& object, const std::string& key,
                                  std::string_view where) {
  const Json& value = json_field(object, key, where);
  if (!value.is_array()) wrong_type(where, key, "an array of integers");
  std::vector<int64_t> extents;
  for (const Json& element : value) {
    if (!is_int64(element) || element.get<int64_t>() < 0) {
      wrong_type(where, key, "an array of integers, none negative");
    }
    extents.push_back(element.get<int64_t>());
  }
  return extents;
}

}  // namespace titan
