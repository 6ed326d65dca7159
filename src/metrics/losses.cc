#include "src/metrics/losses.h"

#include <cmath>
#include <numbers>

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

double fraction(double part, double whole, const char* name) {
  OB_REQUIRE(std::isfinite(part) && std::isfinite(whole) && whole != 0, InvalidArgument,
             "{}: finite losses and a text that changes the loss wanted, {} / {} came", name, part,
             whole);
  return part / whole;
}

}  // namespace

TokenLoss& TokenLoss::operator+=(const TokenLoss& other) {
  nll_sum += other.nll_sum;
  tokens += other.tokens;
  bytes += other.bytes;
  return *this;
}

double TokenLoss::mean() const {
  OB_REQUIRE(tokens > 0, InvalidArgument, "mean loss: at least one token wanted, {} came", tokens);
  return nll_sum / static_cast<double>(tokens);
}

double TokenLoss::perplexity() const {
  return std::exp(mean());
}

double TokenLoss::bits_per_byte() const {
  OB_REQUIRE(bytes > 0, InvalidArgument, "bits per byte: at least one byte wanted, {} came", bytes);
  return nll_sum / std::numbers::ln2 / static_cast<double>(bytes);
}

void DomainLoss::add(std::string_view domain, double window_loss) {
  OB_REQUIRE(std::isfinite(window_loss), InvalidArgument,
             "loss of a window of '{}': a finite number wanted, {} came", domain, window_loss);
  Sum& sum = sums_[std::string(domain)];
  sum.total += window_loss;
  ++sum.windows;
}

double DomainLoss::of(std::string_view domain) const {
  const auto found = sums_.find(domain);
  OB_REQUIRE(found != sums_.end(), NotFound, "loss of '{}': no window of this domain was added",
             domain);
  return found->second.total / static_cast<double>(found->second.windows);
}

double DomainLoss::mean() const {
  return mean_without({});
}

double DomainLoss::mean_without(std::string_view domain) const {
  double total = 0;
  int domains = 0;
  for (const auto& [name, sum] : sums_) {
    if (domain.empty() || name != domain) {
      total += sum.total / static_cast<double>(sum.windows);
      ++domains;
    }
  }
  OB_REQUIRE(domains > 0, InvalidArgument,
             "mean loss over domains: at least one domain wanted, none came");
  return total / domains;
}

double gap_recovered(const GapLosses& losses) {
  return fraction(losses.none - losses.compressed, losses.none - losses.raw, "gap recovered");
}

double document_share(const ShareLosses& losses) {
  return fraction(losses.other - losses.right, losses.other - losses.other_then_raw,
                  "document share");
}

}  // namespace offbook::metrics
