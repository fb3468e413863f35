// The initial value of one element of a parameter, a pure function of (seed, stream, index), for
// host and device. Four consecutive elements share a Philox block:
//   counter = (index / 4, stream), key = seed, uniform = (word[index % 4] + 1/2) / 2^32
//   value = clamp(mean + std * Φ⁻¹(cdf_low + uniform * (cdf_high - cdf_low)), low, high)
// which is a normal distribution cut at low and high. In fp64, rounded once.
#pragma once

#include <cmath>

#include "kernels/common/philox.hpp"

namespace titan::kernels {

struct InitialDistribution {
  double mean = 0.0;
  double std = 1.0;  // 0: the constant `mean`
  double low = 0.0;  // the cut; -infinity and infinity for none
  double high = 0.0;
  double cdf_low = 0.0;  // Φ((low - mean) / std)
  double cdf_high = 1.0;
};

TITAN_HOST_DEVICE inline double polynomial(double x, const double (&coefficients)[8]) {
  double sum = coefficients[7];
  for (int i = 6; i >= 0; --i) sum = sum * x + coefficients[i];
  return sum;
}

// Φ⁻¹, the quantile function of the standard normal distribution, for 0 < p < 1: Wichura's
// algorithm AS 241 (PPND16, Applied Statistics 37, 1988), relative error about 1e-16.
TITAN_HOST_DEVICE inline double normal_quantile(double p) {
  const double centred = p - 0.5;
  if (std::fabs(centred) <= 0.425) {
    const double numerator[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2,
                                 1.9715909503065514427e+3, 1.3731693765509461125e+4,
                                 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                 3.3430575583588128105e+4, 2.5090809287301226727e+3};
    const double denominator[8] = {1.0,
                                   4.2313330701600911252e+1,
                                   6.8718700749205790830e+2,
                                   5.3941960214247511077e+3,
                                   2.1213794301586595867e+4,
                                   3.9307895800092710610e+4,
                                   2.8729085735721942674e+4,
                                   5.2264952788528545610e+3};
    const double r = 0.180625 - centred * centred;
    return centred * polynomial(r, numerator) / polynomial(r, denominator);
  }
  const double r = std::sqrt(-std::log(centred < 0.0 ? p : 1.0 - p));
  double magnitude;
  if (r <= 5.0) {
    const double numerator[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                 5.76949722146069140550e0,  3.64784832476320460504e0,
                                 1.27045825245236838258e0,  2.41780725177450611770e-1,
                                 2.27238449892691845833e-2, 7.74545014278341407640e-4};
    const double denominator[8] = {1.0,
                                   2.05319162663775882187e0,
                                   1.67638483018380384940e0,
                                   6.89767334985100004550e-1,
                                   1.48103976427480074590e-1,
                                   1.51986665636164571966e-2,
                                   5.47593808499534494600e-4,
                                   1.05075007164441684324e-9};
    magnitude = polynomial(r - 1.6, numerator) / polynomial(r - 1.6, denominator);
  } else {
    const double numerator[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                 1.78482653991729133580e0,  2.96560571828504891230e-1,
                                 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                 2.71155556874348757815e-5, 2.01033439929228813265e-7};
    const double denominator[8] = {1.0,
                                   5.99832206555887937690e-1,
                                   1.36929880922735805310e-1,
                                   1.48753612908506148525e-2,
                                   7.86869131145613259100e-4,
                                   1.84631831751005468180e-5,
                                   1.42151175831644588870e-7,
                                   2.04426310338993978564e-15};
    magnitude = polynomial(r - 5.0, numerator) / polynomial(r - 5.0, denominator);
  }
  return centred < 0.0 ? -magnitude : magnitude;
}

TITAN_HOST_DEVICE inline uint32_t initial_bits(uint64_t seed, uint64_t stream, int64_t index) {
  const auto block = static_cast<uint64_t>(index / 4);
  const PhiloxBlock bits =
      philox({{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
               static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)}},
             seed);
  return bits.words[index % 4];
}

TITAN_HOST_DEVICE inline double initial_value(const InitialDistribution& d, uint32_t bits) {
  if (d.std == 0.0) return d.mean;
  const double uniform = (static_cast<double>(bits) + 0.5) * 0x1p-32;
  const double p = d.cdf_low + uniform * (d.cdf_high - d.cdf_low);
  return std::fmin(std::fmax(d.mean + d.std * normal_quantile(p), d.low), d.high);
}

}  // namespace titan::kernels
