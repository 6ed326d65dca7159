#include "src/learn/self_study.h"

#include <algorithm>
#include <set>

#include "src/ingest/content_hash.h"
#include "src/ingest/rule_questions.h"
#include "src/learn/question_set.h"
#include "src/learn/question_writer.h"

namespace offbook::learn {
namespace {

using ingest::AnswerSpan;
using ingest::fault_of;
using ingest::find_answer_spans;
using ingest::rule_questions;
using ingest::SeenQuestions;

constexpr size_t kPassagesAtOnce = 4;  // with two model questions each, eight rows a decode step
constexpr int64_t kWriterTokens = 60, kLongestQuestionTokens = 40;

std::string key_of(const std::string& text, uint64_t seed) {
  return ingest::hash_text(std::to_string(seed) + '\n' + text);
}

std::string unit_of(const Passage& passage) {
  return fmt::format("{}/{:08}", passage.document_id, passage.ordinal);
}

std::string input_of(const Passage& passage, const model::LanguageModel& model,
                     const SelfStudyOptions& o) {
  return ingest::hash_text(fmt::format("{} {} {} {} {} {} {} {} {} {}\n{}", passage.id, o.seed,
                                       model.fingerprint().model, o.rule_questions,
                                       o.model_questions, o.min_with_passage, o.min_gain,
                                       o.limits.min_question_words, o.limits.max_question_words,
                                       o.limits.max_answer_words, passage.text));
}

// Up to `count` of the candidates, a different rule each time as long as there is one.
std::vector<Candidate> varied(std::vector<Candidate> candidates, int count, uint64_t seed) {
  std::sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
    const bool is_cloze = a.rule == "cloze";
    return is_cloze != (b.rule == "cloze") ? !is_cloze
                                           : key_of(a.question, seed) < key_of(b.question, seed);
  });
  std::vector<Candidate> out;
  std::set<std::string> rules;
  for (const bool is_second_round : {false, true}) {
    for (const Candidate& c : candidates) {
      const bool is_new = rules.insert(c.rule).second;
      const bool is_taken = std::any_of(
          out.begin(), out.end(), [&](const Candidate& o) { return o.question == c.question; });
      if (static_cast<int>(out.size()) < count && !is_taken && (is_new || is_second_round)) {
        out.push_back(c);
      }
    }
  }
  return out;
}

class Study {
 public:
  Study(store::Corpus& corpus, const model::LanguageModel& model, model::Decoder& decoder,
        const SelfStudyOptions& options)
      : corpus_(corpus),
        options_(options),
        reader_(model, decoder),
        writer_(reader_),
        judge_(reader_) {}

  void run(const std::vector<const Passage*>& passages) {
    std::vector<QuestionWriter::Request> requests;
    std::vector<size_t> passage_of;  // of each request
    std::vector<std::vector<Candidate>> candidates;
    for (const Passage* p : passages) {
      candidates.push_back(varied(rule_questions(p->text), options_.rule_questions, options_.seed));
      const auto wanted = requests_of(*p, candidates.back());
      requests.insert(requests.end(), wanted.begin(), wanted.end());
      passage_of.resize(requests.size(), candidates.size() - 1);
    }
    std::vector<Candidate> written = writer_.write(requests);
    for (size_t i = 0; i < written.size(); ++i) {
      candidates[passage_of[i]].push_back(std::move(written[i]));
    }
    for (size_t i = 0; i < passages.size(); ++i) {
      finish(*passages[i], candidates[i]);
    }
  }

 private:
  std::vector<QuestionWriter::Request> requests_of(const Passage& passage,
                                                   const std::vector<Candidate>& made) const {
    std::vector<Candidate> answers;
    for (const AnswerSpan& s : find_answer_spans(passage.text)) {
      const std::string text = passage.text.substr(s.span.begin, s.span.end - s.span.begin);
      const bool is_used = std::any_of(made.begin(), made.end(),
                                       [&](const Candidate& c) { return c.answer == text; });
      if (!is_used) {
        answers.push_back(
            {.question = text, .answer = text, .rule = std::string(to_string(s.kind))});
      }
    }
    std::vector<QuestionWriter::Request> out;
    for (const Candidate& c : varied(answers, options_.model_questions, options_.seed)) {
      out.push_back({passage.text, c.answer, c.rule});
    }
    return out;
  }

  // The kept questions of the document's passages before this one, and all given ones.
  SeenQuestions seen_before(const Passage& passage) {
    SeenQuestions seen;
    for (const store::ExampleRecord& r : corpus_.examples().of_document(passage.document_id)) {
      const bool is_given = r.example.source == Example::Source::given;
      const bool is_earlier =
          !r.example.passages.empty() && r.example.passages.front() < passage.id &&
          store::document_of(r.example.passages.front()) == store::document_of(passage.id);
      if (r.is_kept && (is_given || is_earlier)) {
        seen.add(r.example.question, r.example.answers.front());
      }
    }
    return seen;
  }

  void finish(const Passage& passage, const std::vector<Candidate>& candidates) {
    SeenQuestions seen = seen_before(passage);
    std::vector<std::pair<Candidate, std::string>> judged;  // with the reason against it
    std::vector<Candidate> good;
    for (const Candidate& c : candidates) {
      std::string fault = fault_of(c, passage.text, options_.limits);
      if (fault.empty() && !seen.add(c.question, c.answer)) {
        fault = "is asked already";
      }
      if (fault.empty()) {
        good.push_back(c);
      } else {
        judged.emplace_back(c, fault);
      }
    }
    const auto support = judge_.judge(passage.text, good);
    for (size_t i = 0; i < good.size(); ++i) {
      judged.emplace_back(good[i], reason_against(support[i]));
    }
    store::Transaction transaction(corpus_.db());
    corpus_.examples().erase_made(passage.document_id, passage.id);
    for (const auto& [candidate, reason] : judged) {
      put(passage, candidate, reason);
    }
    corpus_.jobs().complete(kStageStudy, unit_of(passage));
    transaction.commit();
  }

  std::string reason_against(const AnswerSupport& s) const {
    if (s.with_passage < options_.min_with_passage) {
      return "the model cannot answer it with the passage";
    }
    return s.with_passage - s.without < options_.min_gain
               ? "the model can answer it without the passage"
               : "";
  }

  void put(const Passage& passage, const Candidate& candidate, const std::string& reason) {
    Example example{.question = candidate.question,
                    .answers = {candidate.answer},
                    .document_id = passage.document_id,
                    .passages = {passage.id},
                    .source = candidate.source};
    example.id = ingest::hash_text(fmt::format("{}\n{}", example_id(example), passage.id));
    corpus_.examples().put({.example = example, .is_kept = reason.empty(), .reason = reason});
  }

  store::Corpus& corpus_;
  const SelfStudyOptions& options_;
  StagedReader reader_;
  QuestionWriter writer_;
  AnswerJudge judge_;
};

SelfStudyResult count(store::Corpus& corpus, int64_t generation, int64_t studied) {
  SelfStudyResult result{.passages_studied = studied};
  for (const store::StoredDocument& d : corpus.documents().list(generation)) {
    std::set<int64_t> covered;
    for (const store::ExampleRecord& r : corpus.examples().of_document(d.document.id)) {
      if (r.example.source == Example::Source::given || r.example.passages.empty() ||
          store::document_of(r.example.passages.front()) != d.number) {
        continue;
      }
      ++result.tried;
      if (r.is_kept) {
        ++result.kept;
        covered.insert(r.example.passages.front());
      } else {
        ++result.rejected[r.reason];
      }
    }
    ++result.documents;
    result.passages += d.passage_count;
    result.passages_covered += static_cast<int64_t>(covered.size());
    result.documents_covered += covered.empty() ? 0 : 1;
  }
  return result;
}

}  // namespace

int64_t tokens_of_study(int64_t passage_tokens, const SelfStudyOptions& options) {
  const int64_t questions = options.rule_questions + options.model_questions;
  return options.model_questions * (passage_tokens + kWriterTokens) + passage_tokens +
         questions * 2 * kLongestQuestionTokens;
}

std::vector<Passage> choose_passages(store::Corpus& corpus, int64_t generation,
                                     const SelfStudyOptions& options) {
  std::vector<std::vector<Passage>> documents;
  for (const store::StoredDocument& d : corpus.documents().list(generation)) {
    documents.push_back(corpus.documents().passages(d.number));
    std::sort(documents.back().begin(), documents.back().end(),
              [&](const Passage& a, const Passage& b) {
                return key_of(a.text, options.seed) < key_of(b.text, options.seed);
              });
  }
  std::sort(documents.begin(), documents.end(), [&](const auto& a, const auto& b) {
    const auto key = [&](const auto& d) {
      return d.empty() ? std::string() : key_of(d.front().document_id, options.seed);
    };
    return key(a) < key(b);
  });
  std::vector<Passage> out;
  int64_t tokens = 0;
  bool is_left = true;
  for (size_t round = 0; is_left; ++round) {
    is_left = false;
    for (const auto& passages : documents) {
      if (round >= passages.size()) {
        continue;
      }
      tokens += tokens_of_study(passages[round].base_tokens, options);
      if (static_cast<int>(out.size()) >= options.max_passages || tokens > options.max_tokens) {
        return out;
      }
      out.push_back(passages[round]);
      is_left = true;
    }
  }
  return out;
}

SelfStudyResult self_study(store::Corpus& corpus, int64_t generation,
                           const model::LanguageModel& model, model::Decoder& decoder,
                           const SelfStudyOptions& options) {
  const std::vector<Passage> chosen = choose_passages(corpus, generation, options);
  std::map<std::string, const Passage*> by_unit;
  std::vector<store::WorkUnit> units;
  for (const Passage& p : chosen) {
    by_unit[unit_of(p)] = &p;
    units.push_back({unit_of(p), input_of(p, model, options)});
  }
  corpus.jobs().plan(kStageStudy, units);
  const auto total = static_cast<int64_t>(units.size());
  int64_t done = corpus.jobs().counts(kStageStudy).done;
  if (done < total) {
    Study study(corpus, model, decoder, options);
    while (true) {
      OB_REQUIRE(!options.stop.stop_requested(), Cancelled,
                 "self-study was stopped after {} of {} passages; the same command goes on from "
                 "there",
                 done, total);
      std::vector<const Passage*> group;
      while (group.size() < kPassagesAtOnce) {
        const auto job = corpus.jobs().claim(kStageStudy);
        if (!job) {
          break;
        }
        group.push_back(by_unit.at(job->unit));
      }
      if (group.empty()) {
        break;
      }
      study.run(group);
      done += static_cast<int64_t>(group.size());
      if (options.on_progress) {
        options.on_progress(done, total);
      }
    }
  }
  return count(corpus, generation, total);
}

std::vector<Example> usable_examples(store::Corpus& corpus, int64_t generation,
                                     bool with_self_study) {
  std::set<std::string> ids = {""};
  std::set<int64_t> numbers;
  for (const store::StoredDocument& d : corpus.documents().list(generation)) {
    ids.insert(d.document.id);
    numbers.insert(d.number);
  }
  std::vector<Example> all = corpus.examples().usable();
  const auto is_given = [](const Example& e) { return e.source == Example::Source::given; };
  const bool has_given = std::any_of(all.begin(), all.end(), is_given);
  std::erase_if(all, [&](const Example& e) {
    const bool is_here =
        ids.contains(e.document_id) && (is_given(e) || e.passages.empty() ||
                                        numbers.contains(store::document_of(e.passages.front())));
    return !is_here || (!is_given(e) && has_given && !with_self_study);
  });
  return all;
}

}  // namespace offbook::learn
