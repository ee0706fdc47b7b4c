// Conversions between a scan kernel's score and the true one, and the tail probability of a forecast. Only sums,
// products and quotients, each rounded once: the same results on every machine and device.
#pragma once
#include <cmath>

#include "cpp/base/host_device.hpp"
#include "cpp/scan/queries.hpp"

namespace nestvec {

/// The largest float that is not above x.
NESTVEC_HOST_DEVICE inline float float_below(double x) {
  const float nearest = float(x);
  return nearest > x ? nextafterf(nearest, -INFINITY) : nearest;
}

NESTVEC_HOST_DEVICE inline double just_below(double x) { return nextafter(x, -double(INFINITY)); }

/// The true score of a kernel's score. If it is exact it is a float, as all final scores are.
NESTVEC_HOST_DEVICE inline double scaled(float score, const QueryScale& scale) {
  const double sum = double(score * scale.scale) + scale.offset;
  return scale.error.exact() ? double(float(sum)) : sum;
}

/// A limit for the kernel: all of its scores that exceed `limit`, once scaled and rounded, exceed it.
NESTVEC_HOST_DEVICE inline float kernel_limit(double limit, const QueryScale& scale) {
  if (scale.scale == 1 && scale.offset == 0) return float_below(limit);
  const double unscaled = (limit - scale.offset) / scale.scale;
  const double below_normal = 0x1p-149 / scale.scale;
  return float_below(unscaled - fabs(unscaled) * 4 * kFloatUnit - below_normal);
}

/// A limit below the approximate scores of all rows whose exact scores are `exact` or more.
NESTVEC_HOST_DEVICE inline double limit_below(double exact, const ScoreError& error) {
  return just_below(exact - error.of(exact));
}

/// The probability that a normally distributed number is more than z deviations above the mean, within 1.5e-7
/// (Abramowitz and Stegun, 26.2.19). The powers are products, so that it is the same on every machine.
NESTVEC_HOST_DEVICE inline double normal_tail(double z) {
  const double x = fabs(z);
  const double sum =
      1 + x * (.0498673470 +
               x * (.0211410061 + x * (.0032776263 + x * (.0000380036 + x * (.0000488906 + x * .0000053830)))));
  const double four = sum * sum * sum * sum, tail = .5 / (four * four * four * four);
  return z < 0 ? 1 - tail : tail;
}

}  // namespace nestvec
