// Bar: the passages found for a question say which group of documents it belongs to, so that the
// group's adapter answers it. Documents of five sets pooled in one corpus, a set a group; questions
// of documents of the part for testing. The group that the passages vote for is the question's own
// in at least 90% of the questions, each group weighing the same. Beside it: the group of the best
// passage alone. --sabotage: groups are dealt out to the documents at random.
// usage: bar_group_vote [--quick] [--sabotage] [--device D] [tune]
// tune: questions of the documents for tuning, with several constants of the vote.
#include "src/answer/group_vote.h"

#include "bench/bars/bar.h"
#include "bench/bars/pooled.h"
#include "bench/bars/records.h"

#include <cstdio>
#include <map>

#include <unistd.h>

#include "src/backend/compute_device.h"
#include "src/base/random.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/learn/grouping.h"
#include "src/metrics/split.h"
#include "src/model/import/fingerprint.h"
#include "src/model/language_model.h"
#include "src/retrieve/index_stage.h"

namespace offbook {
namespace {

using nlohmann::json;

constexpr const char* kSets[] = {"fairytaleqa", "qmsum", "qasper", "squad", "covidqa"};
constexpr double kBar = 0.90;

struct Scale {
  size_t documents = 24;  // of a set
  size_t questions = 100;
};

// A question with the group it belongs to.
struct Asked {
  std::string question, group;
};

// Sets of fewer than 60 documents have no parts: folds 0 and 1 of five are for testing.
bool is_asked(const std::string& id, size_t set_size, bool for_tuning) {
  if (set_size < metrics::kSplitDocuments) {
    return (metrics::split_fold(id) < 2) != for_tuning;
  }
  return metrics::split_part(id) ==
         (for_tuning ? metrics::SplitPart::tune : metrics::SplitPart::test);
}

// Documents that are asked about first, then others, as "<set>/<id>".
void take(const std::string& set, const Scale& scale, bool for_tuning, std::vector<json>& pooled,
          std::vector<Asked>& asked) {
  std::vector<json> records =
      bars::lines_of(bars::decompressed(bars::data_directory() / "data" / (set + ".jsonl.zst")));
  const size_t size = records.size();
  std::stable_sort(records.begin(), records.end(), [&](const json& a, const json& b) {
    const auto key = [&](const json& r) {
      const auto id = r["id"].get<std::string>();
      return std::pair(!is_asked(id, size, for_tuning), metrics::split_hash(id));
    };
    return key(a) < key(b);
  });
  records.resize(std::min(size, scale.documents));
  std::vector<Asked> all;
  for (json& record : records) {
    const auto id = record["id"].get<std::string>();
    for (const json& q : record["questions"]) {
      if (is_asked(id, size, for_tuning)) {
        all.push_back({q["question"], set});
      }
    }
    record["id"] = set + "/" + id;
    pooled.push_back({{"id", record["id"]}, {"text", record["text"]}});
  }
  const size_t count = std::min(all.size(), scale.questions);
  for (size_t i = 0; i < count; ++i) {
    asked.push_back(all[i * all.size() / count]);
  }
}

class Machine {
 public:
  explicit Machine(const std::string& device)
      : device_({.name = device}),
        encoder_(real_file_system(), bars::model_directory() / "all-minilm-l6-v2",
                 device_.context(backend::Compute::bf16)),
        fingerprint_(model::encoder_fingerprint(real_file_system(),
                                                bars::model_directory() / "all-minilm-l6-v2")
                         .model),
        model_(real_file_system(), bars::model_directory() / "smollm2-135m-instruct",
               device_.context(backend::Compute::bf16), {}),
        counter_(model_.tokenizer(), encoder_.tokenizer()) {}

  // Passages found for each question.
  std::vector<std::vector<retrieve::RankedPassage>> find(const std::vector<json>& pooled,
                                                         const std::vector<Asked>& asked) {
    const auto directory =
        std::filesystem::temp_directory_path() / fmt::format("offbook_group_vote_{}", ::getpid());
    std::vector<std::vector<retrieve::RankedPassage>> out;
    {
      store::Corpus corpus = store::Corpus::create(directory, {});
      const int64_t generation = corpus.generations().begin(json::object());
      bars::put_records(corpus, generation, pooled, counter_);
      retrieve::index_passages(corpus, generation, encoder_, fingerprint_, {});
      retrieve::Retriever retriever(corpus, generation, encoder_, fingerprint_,
                                    device_.cpu_context(backend::Compute::f32));
      std::printf("%zu documents, %lld passages, %zu questions\n", pooled.size(),
                  static_cast<long long>(retriever.passage_count()), asked.size());
      std::fflush(stdout);
      for (const Asked& a : asked) {
        out.push_back(retriever.retrieve(a.question, {}).passages);
      }
    }
    std::filesystem::remove_all(directory);
    return out;
  }

 private:
  backend::ComputeDevice device_;  // before all that lives on it
  model::SentenceEncoder encoder_;
  std::string fingerprint_;
  model::LanguageModel model_;
  ingest::TokenizerCounter counter_;
};

using GroupOf = std::function<std::string(const std::string& path)>;

// Share of right votes, each group weighing the same; groups in `shares`.
double accuracy(const std::vector<std::vector<retrieve::RankedPassage>>& found,
                const std::vector<Asked>& asked, const GroupOf& group_of, size_t passages,
                double vote_rank, std::map<std::string, double>& shares) {
  std::map<std::string, std::pair<double, double>> counts;  // right, all
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto some = std::span(found[i]).first(std::min(found[i].size(), passages));
    auto& [right, all] = counts[asked[i].group];
    right += answer::vote_of_groups(some, group_of, vote_rank).group == asked[i].group;
    ++all;
  }
  double sum = 0;
  for (const auto& [group, count] : counts) {
    shares[group] = count.first / count.second;
    sum += shares[group];
  }
  return sum / static_cast<double>(counts.size());
}

int run(const bars::Options& options) {
  const bool is_tuning =
      std::find(options.names.begin(), options.names.end(), "tune") != options.names.end();
  std::vector<std::filesystem::path> needed{bars::model_directory() / "smollm2-135m-instruct",
                                            bars::model_directory() / "all-minilm-l6-v2"};
  for (const char* set : kSets) {
    needed.push_back(bars::data_directory() / "data" / (std::string(set) + ".jsonl.zst"));
  }
  for (const auto& path : needed) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  const Scale scale = options.quick ? Scale{.documents = 3, .questions = 20} : Scale{};
  std::vector<json> pooled;
  std::vector<Asked> asked;
  for (const char* set : kSets) {
    take(set, scale, is_tuning, pooled, asked);
  }
  const auto found = Machine(options.device).find(pooled, asked);
  const learn::Grouping folders = learn::Grouping::by_folder();
  GroupOf group_of = [&](const std::string& path) { return folders.group_of(path); };
  if (options.sabotage) {
    group_of = [](const std::string& path) {
      return std::string(kSets[Random(std::hash<std::string>{}(path)).below(std::size(kSets))]);
    };
  }
  std::map<std::string, double> shares;
  if (is_tuning) {
    for (const double rank : {0.0, 1.0, 2.0, 4.0, 8.0, 60.0}) {
      for (const size_t passages : {3u, 5u, 8u}) {
        std::printf("constant %2.0f, %zu passages: %.1f%%\n", rank, passages,
                    100 * accuracy(found, asked, group_of, passages, rank, shares));
      }
    }
    return bars::kHolds;
  }
  const double best = accuracy(found, asked, group_of, 1, answer::kVoteRank, shares);
  const double voted = accuracy(found, asked, group_of, 8, answer::kVoteRank, shares);
  for (const auto& [group, share] : shares) {
    std::printf("  %-12s %5.1f%%\n", group.c_str(), 100 * share);
  }
  std::printf("group of the best passage alone %.1f%%\n", 100 * best);
  std::printf("group voted for is the question's own: %.1f%% (bar %.0f%%)\n", 100 * voted,
              100 * kBar);
  return voted >= kBar ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
