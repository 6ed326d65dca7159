// Perplexity, and how much of what the text gives a compressed context keeps.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace offbook::metrics {

// Sums of negative log-likelihoods (nats). Adding and merging are exact in any order up to
// rounding.
struct TokenLoss {
  double nll_sum = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;  // UTF-8 bytes of the same text; 0 where not known

  TokenLoss& operator+=(const TokenLoss& other);
  // nll_sum / tokens. This and those below: InvalidArgument without a token (or byte).
  double mean() const;
  double perplexity() const;     // exp(mean)
  double bits_per_byte() const;  // comparable between tokenizers
};

// Means over windows, per domain, then over domains: every domain weighs the same, however many
// windows it has. InvalidArgument for a loss that is not finite.
class DomainLoss {
 public:
  void add(std::string_view domain, double window_loss);
  double of(std::string_view domain) const;  // NotFound for a domain never added
  double mean() const;                       // InvalidArgument where nothing was added
  // The same without one domain (meetings reward adaptation more than memory).
  double mean_without(std::string_view domain) const;

 private:
  struct Sum {
    double total = 0;
    int64_t windows = 0;
  };
  std::map<std::string, Sum, std::less<>> sums_;
};

// (none − compressed) / (none − raw): 0 as without the text, 1 as with it; above 1 is possible, as
// part of it is adaptation to the kind of text. InvalidArgument where none == raw.
struct GapLosses {
  double none = 0;        // without any context
  double compressed = 0;  // with the compressed context
  double raw = 0;         // with the text itself
};
double gap_recovered(const GapLosses& losses);

// (other − right) / (other − other_then_raw): the share that is due to this very document. Another
// document of the same domain stands in front on both ends, so adaptation cancels.
struct ShareLosses {
  double other = 0;           // another document's compressed context
  double right = 0;           // this document's compressed context
  double other_then_raw = 0;  // another document's, then this document's text
};
double document_share(const ShareLosses& losses);

}  // namespace offbook::metrics
