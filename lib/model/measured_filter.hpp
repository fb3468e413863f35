// auto_filter_measured: which members of a linear group run in float8, by the clock. The candidates
// are the distinct choices of members (two that convert members of the same sizes are one); float8
// must be at least 2 % faster than bf16. The clock is the caller's.
#pragma once

#include <functional>

#include "lib/model/converter.hpp"

namespace titan {

// As time_linear_group_sync(): milliseconds for each choice.
using TimeLinearGroup =
    std::function<std::vector<double>(const LinearGroupKind&, const std::vector<Float8Members>&)>;

// The distinct choices among members that may be converted: none, all, then the mixes. Of choices
// alike in sizes the one with the fewest runs of equal precision stands for all.
std::vector<Float8Members> float8_choices(const LinearGroupKind& kind,
                                          const Float8Members& candidates);

// Times none and all, and the mixes too where these two are within 25 % of each other: a mix lies
// between them but for what splitting the product costs.
GroupMeasurement measure_group(const LinearGroupKind& kind, const Float8Members& candidates,
                               const TimeLinearGroup& time);

// The fastest choice with a float8 member if it takes at most 98 % of the time in bf16, else none.
const Float8Members& fastest_choice(const GroupMeasurement& measurement);

// Takes float8 away from those converted linears of `model` that do not gain by it, each kind of
// group measured once as one of `tp` tensor-parallel ranks computes it, and says so in the rows.
// `report` has a row for every linear of the model.
void keep_what_gains(DecoderConfig& model, ConversionReport& report, int64_t tokens, int64_t tp,
                     const MeasureGroup& measure);

}  // namespace titan
