#include "src/metrics/reference_check.h"

#include <cmath>
#include <limits>

#include "src/base/error.h"
#include "src/metrics/choice.h"
#include "src/metrics/correlation.h"
#include "src/metrics/infinitebench.h"
#include "src/metrics/porter_stemmer.h"
#include "src/metrics/python_text.h"
#include "src/metrics/text_scores.h"

namespace offbook::metrics {
namespace {

using Strings = std::vector<std::string>;

void add_rouge(std::map<std::string, double>& out, const RougeScores& scores,
               const std::string& suffix) {
  const std::pair<const char*, const PrecisionRecall*> kinds[] = {
      {"rouge1", &scores.rouge_1},
      {"rouge2", &scores.rouge_2},
      {"rougeL", &scores.rouge_l},
      {"rougeLsum", &scores.rouge_lsum}};
  for (const auto& [name, score] : kinds) {
    out[name + suffix + "_p"] = score->precision;
    out[name + suffix + "_r"] = score->recall;
    out[name + suffix + "_f"] = score->f1;
  }
}

std::map<std::string, double> short_scores(const std::string& prediction,
                                           const Strings& references) {
  const SquadScore squad = squad2_score(prediction, references);
  std::vector<Strings> answer_sets;
  for (const std::string& reference : references) {
    answer_sets.push_back({reference});
  }
  return {{"exact_match", exact_match(prediction, references)},
          {"token_f1", token_f1(prediction, references)},
          {"squad2_exact", squad.exact},
          {"squad2_f1", squad.f1},
          {"contains_exactly", contains_exactly(prediction, references)},
          {"contains_normalized", contains_normalized(prediction, references)},
          {"contains_quito", contains_quito(prediction, references)},
          {"asqa_em_recall", asqa_em_recall(prediction, answer_sets)},
          {"hotpotqa_f1", token_f1(before_full_stop(prediction), references)},
          {"edit_similarity", edit_similarity(prediction, references[0])},
          {"longbench_code", longbench_code_similarity(prediction, references[0])},
          {"altqa", altqa_score(prediction, references[0])},
          {"sentence_bleu", sentence_bleu(prediction, references)}};
}

}  // namespace

void ReferenceCheck::read(std::istream& lines, const std::string& name) {
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    try {
      row(nlohmann::json::parse(line));
    } catch (const nlohmann::json::exception& e) {
      OB_THROW(Corrupt, "{}:{}: a row of reference scores wanted: {}", name, number, e.what());
    }
  }
}

void ReferenceCheck::row(const nlohmann::json& row) {
  const auto kind = row.at("kind").get<std::string>();
  if (kind == "names") {
    names_ = row.at("names").get<Strings>();
  } else if (kind == "pair") {
    pair(row);
  } else if (kind == "set") {
    whole_set(row);
  } else if (kind == "infinitebench") {
    infinitebench(row);
  } else if (kind == "choice") {
    choice(row);
  } else if (kind == "unicode") {
    unicode(row);
  } else if (kind == "stem") {
    stems(row);
  } else {
    OB_REQUIRE(kind == "spearman", Corrupt, "reference scores: unknown kind of row '{}'", kind);
    const auto x = row.at("x").get<std::vector<double>>();
    compare("spearman", spearman(x, row.at("y").get<std::vector<double>>()), row.at("rho"), "rho");
  }
}

void ReferenceCheck::pair(const nlohmann::json& row) {
  const auto prediction = row.at("prediction").get<std::string>();
  const auto references = row.at("references").get<Strings>();
  Scores ours = short_scores(prediction, references);
  const RougeScores plain = rouge(prediction, references, Stemming::none);
  add_rouge(ours, plain, "");
  add_rouge(ours,
            product_ == Product::broken ? plain : rouge(prediction, references, Stemming::porter),
            "_stem");
  for (size_t i = 0; i < names_.size(); ++i) {
    compare(names_[i], ours.at(names_[i]), row.at("scores").at(i), prediction);
  }
  Set& set = sets_[row.at("set").get<std::string>()];
  set.bleu += bleu_counts(prediction, references);
  set.rouge.push_back(plain);
  ++pairs_;
}

void ReferenceCheck::whole_set(const nlohmann::json& row) {
  const auto name = row.at("set").get<std::string>();
  const Set& set = sets_.at(name);
  compare("corpus_bleu", bleu(set.bleu, BleuOrder::full), row.at("scores").at("corpus_bleu"), name);
  compare("scrolls", scrolls_geometric_mean(set.rouge), row.at("scores").at("scrolls"), name);
}

void ReferenceCheck::infinitebench(const nlohmann::json& row) {
  const auto name = row.at("task").get<std::string>();
  const auto prediction = row.at("prediction").get<std::string>();
  const InfiniteBenchTask task = infinitebench_task(name);
  const InfiniteBenchLabel label = infinitebench_label(row.at("label"));
  const InfiniteBenchOptions options{.drops_first_operand = row.at("gpt4").get<bool>()};
  const double strict = infinitebench_strict(task, prediction, label, options);
  const double lenient = infinitebench_lenient(task, prediction, label, options);
  compare("infinitebench " + name, product_ == Product::broken ? lenient : strict, row.at("score"),
          prediction);
  compare("lenient below strict", std::min(lenient - strict, 0.0), 0, prediction);
}

void ReferenceCheck::choice(const nlohmann::json& row) {
  const ChoiceRule rule = choice_rule(row.at("rule").get<std::string>());
  const auto options = row.at("options").get<Strings>();
  for (const nlohmann::json& one : row.at("cases")) {
    const auto prediction = one.at(0).get<std::string>();
    compare("choice " + std::string(to_string(rule)),
            choice_score(rule, prediction, options, one.at(1).get<size_t>()), one.at(2),
            prediction);
  }
}

void ReferenceCheck::unicode(const nlohmann::json& row) {
  const auto text = row.at("text").get<std::string>();
  const auto words = row.at("words").get<Strings>();
  const auto split = python_split(text);
  compare("lower", python_lower(text) != row.at("lower").get<std::string>(), 0, text);
  compare("upper", python_upper(text) != row.at("upper").get<std::string>(), 0, text);
  compare("split", Strings(split.begin(), split.end()) != words, 0, text);
}

void ReferenceCheck::stems(const nlohmann::json& row) {
  const auto words = row.at("words").get<Strings>();
  for (size_t i = 0; i < words.size(); ++i) {
    compare("porter stem", porter_stem(words[i]) != row.at("stems").at(i).get<std::string>(), 0,
            words[i]);
  }
}

void ReferenceCheck::compare(const std::string& metric, double ours, double reference,
                             const std::string& what) {
  ReferenceDifference& difference = differences_[metric];
  ++difference.compared;
  const double apart =
      std::isfinite(ours) ? std::abs(ours - reference) : std::numeric_limits<double>::infinity();
  if (apart > difference.largest) {
    difference.largest = apart;
    difference.worst =
        fmt::format("ours {} reference {}: {}", ours, reference, what.substr(0, 200));
  }
}

}  // namespace offbook::metrics
