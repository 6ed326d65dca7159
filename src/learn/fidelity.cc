#include "src/learn/fidelity.h"

#include <algorithm>
#include <map>
#include <set>

namespace offbook::learn {
namespace {

struct Judged {
  int64_t number = 0;
  std::vector<Example> questions;
};

// The documents to measure, those with most questions first, each with as many as are asked of it.
std::vector<Judged> choose(const std::map<std::string, int64_t>& numbers,
                           const std::map<std::string, std::vector<Example>>& by_document,
                           const FidelityOptions& options, FidelityResult& result) {
  std::vector<Judged> all;
  for (const auto& [id, examples] : by_document) {
    if (examples.size() >= kFewestFidelityQuestions) {
      all.push_back({numbers.at(id), examples});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Judged& a, const Judged& b) {
    return a.questions.size() > b.questions.size();
  });
  const size_t most = std::max<size_t>(kFewestFidelityQuestions, options.max_questions);
  size_t answers = 0;
  std::vector<Judged> out;
  for (Judged& j : all) {
    j.questions.resize(std::min(most, j.questions.size()));
    answers += 2 * j.questions.size();
    if (answers > options.max_answers) {
      ++result.left_out;
    } else {
      out.push_back(std::move(j));
    }
  }
  return out;
}

}  // namespace

FidelityResult assess_fidelity(store::Corpus& corpus, int64_t generation, const std::string& method,
                               const std::vector<Example>& held_out, const FidelitySides& sides,
                               const model::LanguageModel& model, model::Decoder& decoder,
                               const AssessOptions& options, const FidelityOptions& fidelity) {
  FidelityResult result;
  std::map<std::string, int64_t> numbers;
  std::map<std::string, std::vector<Example>> by_document;
  for (const store::StoredDocument& d : corpus.documents().list(generation)) {
    if (fidelity.includes && !fidelity.includes(d.document.id)) {
      continue;
    }
    numbers[d.document.id] = d.number;
    by_document[d.document.id];
    ++result.documents;
  }
  for (const Example& e : held_out) {
    if (const auto it = by_document.find(e.document_id); it != by_document.end()) {
      it->second.push_back(e);
    }
  }
  const std::vector<Judged> chosen = choose(numbers, by_document, fidelity, result);
  std::vector<Example> questions;
  for (const Judged& j : chosen) {
    questions.insert(questions.end(), j.questions.begin(), j.questions.end());
  }
  const auto score = [&](const Contestant& contestant, const PromptMaker& prompts) {
    return questions.empty()
               ? std::vector<double>{}
               : score_answers(corpus, questions, contestant, prompts, model, decoder, options);
  };
  const std::vector<double> raw = score(sides.with_raw, sides.raw);
  const std::vector<double> slots = score(sides.with_slots, sides.slots);
  store::Transaction transaction(corpus.db());
  for (const auto& [id, examples] : by_document) {
    if (examples.size() < kFewestFidelityQuestions) {
      ++result.too_few;
      corpus.generations().put_fidelity(generation,
                                        {.document = numbers.at(id),
                                         .method = method,
                                         .questions = static_cast<int>(examples.size())});
    }
  }
  auto at = std::ptrdiff_t{0};
  for (const Judged& j : chosen) {
    const auto end = at + static_cast<std::ptrdiff_t>(j.questions.size());
    const store::Fidelity f =
        fidelity_of(j.number, method, {slots.begin() + at, slots.begin() + end},
                    {raw.begin() + at, raw.begin() + end}, fidelity.floor);
    corpus.generations().put_fidelity(generation, f);
    result.lowest = result.measured == 0 ? f.score : std::min(result.lowest, f.score);
    result.highest = result.measured == 0 ? f.score : std::max(result.highest, f.score);
    ++result.measured;
    result.use_slots += f.use_slots ? 1 : 0;
    at = end;
  }
  transaction.commit();
  return result;
}

void carry_fidelity(store::Corpus& corpus, int64_t from, int64_t to, const std::string& method) {
  std::set<int64_t> there;
  for (const store::StoredDocument& d : corpus.documents().list(to)) {
    there.insert(d.number);
  }
  for (const store::Fidelity& f : corpus.generations().fidelity(from)) {
    if (f.method == method && there.contains(f.document)) {
      corpus.generations().put_fidelity(to, f);
    }
  }
}

std::string reason_of(const store::Fidelity& f, double floor) {
  if (f.questions < kFewestFidelityQuestions) {
    return fmt::format("answered from raw passages: {} questions held back, {} are needed",
                       f.questions, kFewestFidelityQuestions);
  }
  const std::string numbers = fmt::format(
      "{:.2f} of the raw text's F1, 90% bounds {:.2f} and {:.2f}, "
      "{} questions, floor {:.2f}",
      f.score, f.lower, f.upper, f.questions, floor);
  return f.use_slots ? fmt::format("slots may be used beside raw passages: {}", numbers)
                     : fmt::format("answered from raw passages: {}", numbers);
}

}  // namespace offbook::learn
