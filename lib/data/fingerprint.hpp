// A 128-bit hash over a list of values, for keys and for "is this still the same?".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace titan::data {

class Fingerprint {
 public:
  Fingerprint& add(std::string_view text);
  Fingerprint& add(int64_t number);
  std::string hex() const;  // 32 digits

 private:
  std::string values_;
};

}  // namespace titan::data
