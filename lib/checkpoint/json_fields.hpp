// Strict access to the fields of parsed JSON: a missing field or a wrong type throws InputError
// that names the file (`where`) and the key.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace titan {

using Json = nlohmann::ordered_json;

// Parses a document; a syntax error is an InputError with the place in the text.
Json parse_json(std::string_view text, std::string_view where);

const Json& json_field(const Json& object, const std::string& key, std::string_view where);
int64_t json_int(const Json& object, const std::string& key, std::string_view where);
double json_double(const Json& object, const std::string& key, std::string_view where);
bool json_bool(const Json& object, const std::string& key, std::string_view where);
std::string json_string(const Json& object, const std::string& key, std::string_view where);
// An array of integers, none negative: a shape or an offset.
std::vector<int64_t> json_extents(const Json& object, const std::string& key,
                                  std::string_view where);

}  // namespace titan
