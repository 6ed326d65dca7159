#include "src/ingest/rule_questions.h"

#include <algorithm>
#include <array>
#include <optional>

#include "src/ingest/sentences.h"
#include "src/ingest/words.h"

namespace offbook::ingest {
namespace {

constexpr size_t kMinWords = 5, kMaxWords = 45;
constexpr size_t kMaxSubject = 6;  // words; longer ones hold clauses
constexpr size_t kMaxTail = 14;    // words behind the verb that go into a question

template <size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr std::array<std::string_view, 6> kAuxiliaries = {"was", "were", "is",
                                                          "are", "will", "can"};
constexpr std::array<std::string_view, 4> kArticles = {"a", "an", "the", "one"};
constexpr std::array<std::string_view, 6> kTimeWords = {"in",    "on",     "since",
                                                        "until", "during", "by"};
constexpr std::array<std::string_view, 5> kPlaceWords = {"in", "at", "near", "from", "to"};
constexpr std::array<std::string_view, 14> kPlacedVerbs = {
    "born",   "held", "built", "located",    "found", "founded", "published",
    "buried", "kept", "based", "discovered", "taken", "sent",    "made"};
constexpr std::array<std::string_view, 22> kPastVerbs = {
    "wrote", "said", "made",    "became", "took", "gave", "won", "led",  "found", "built", "held",
    "met",   "told", "brought", "began",  "left", "sent", "saw", "came", "went",  "kept",  "found"};
constexpr std::array<std::string_view, 7> kTitles = {"Mr",  "Mrs",       "Ms",  "Dr",
                                                     "Sir", "Professor", "Lord"};

class SentenceRules {
 public:
  SentenceRules(std::string_view passage, ByteSpan sentence, std::vector<AnswerSpan> spans)
      : passage_(passage),
        sentence_(sentence),
        words_(words_of(passage, sentence)),
        spans_(std::move(spans)) {}

  void add_to(std::vector<Candidate>& out) const {
    if (words_.size() < kMinWords || words_.size() > kMaxWords) {
      return;
    }
    for (const auto& made :
         {who_did(), by_whom(), when(), where(), how_many(), what_is(), cloze()}) {
      if (made) {
        out.push_back(*made);
      }
    }
  }

 private:
  using Made = std::optional<Candidate>;

  std::string text(size_t begin, size_t end) const {  // words [begin, end), as they stand
    std::string out(passage_.substr(words_[begin].span.begin,
                                    words_[end - 1].span.end - words_[begin].span.begin));
    std::replace(out.begin(), out.end(), '\n', ' ');
    return out;
  }
  std::string text(ByteSpan span) const {
    return std::string(passage_.substr(span.begin, span.end - span.begin));
  }
  // The first word that punctuation ends, from `begin` on: a phrase goes no further.
  size_t phrase_end(size_t begin) const {
    size_t end = begin;
    while (end < words_.size() && end - begin < kMaxTail) {
      if (words_[end++].is_broken_after) {
        break;
      }
    }
    return end;
  }
  const AnswerSpan* span_at(size_t word) const {
    for (const AnswerSpan& s : spans_) {
      if (word < words_.size() && s.span.begin == words_[word].span.begin) {
        return &s;
      }
    }
    return nullptr;
  }
  // Where the first auxiliary stands when a plain subject is in front of it.
  std::optional<size_t> auxiliary() const {
    for (size_t i = 1; i < words_.size() && i <= kMaxSubject; ++i) {
      if (words_[i].is_broken_before || words_[i - 1].is_broken_after ||
          is_pronoun(words_[i - 1].text)) {
        return std::nullopt;
      }
      if (is_one_of(words_[i].text, kAuxiliaries)) {
        return is_subject(i) ? std::optional(i) : std::nullopt;
      }
    }
    return std::nullopt;
  }
  // Words [0, end) name something by themselves: an article or a capital, no clause inside.
  bool is_subject(size_t end) const {
    const std::string_view first = words_[0].text;
    const bool has_article = first == "The" || first == "A" || first == "An";
    if (is_pronoun(first) || (is_function_word(first) && !has_article) ||
        (has_article && end == 1)) {
      return false;
    }
    return std::none_of(words_.begin() + 1, words_.begin() + static_cast<std::ptrdiff_t>(end),
                        [](const Word& w) { return is_pronoun(w.text) || w.text == "and"; });
  }
  std::string subject(size_t end) const { return lower_article(text(0, end)); }
  bool is_person(size_t end) const {
    return is_one_of(words_[0].text, kTitles) ||
           (end >= 2 && end <= 3 && !is_function_word(words_[0].text) &&
            std::all_of(words_.begin(), words_.begin() + static_cast<std::ptrdiff_t>(end),
                        [](const Word& w) { return begins_with_capital(w.text); }));
  }
  Made make(std::string question, std::string answer, const char* rule) const {
    return Candidate{.question = std::move(question),
                     .answer = std::move(answer),
                     .sentence = sentence_,
                     .rule = rule,
                     .source = Example::Source::by_rule};
  }

  Made who_did() const {
    const AnswerSpan* name = span_at(0);
    if (name == nullptr || name->kind != AnswerSpan::Kind::name) {
      return std::nullopt;
    }
    size_t verb = 0;
    while (verb < words_.size() && words_[verb].span.begin < name->span.end) {
      ++verb;
    }
    const bool is_past =
        verb < words_.size() && !words_[verb - 1].is_broken_after &&
        (words_[verb].text.ends_with("ed") || is_one_of(words_[verb].text, kPastVerbs));
    const size_t end = is_past ? phrase_end(verb) : 0;
    if (!is_past || !is_person(verb) || end < verb + 2) {
      return std::nullopt;
    }
    return make("Who " + text(verb, end) + "?", text(name->span), "who");
  }

  Made by_whom() const {
    const auto aux = auxiliary();
    for (size_t i = aux ? *aux + 2 : words_.size(); i + 1 < words_.size() && i < *aux + 6; ++i) {
      if (words_[i - 1].is_broken_after) {
        break;
      }
      const AnswerSpan* name = words_[i].text == "by" ? span_at(i + 1) : nullptr;
      if (name != nullptr && name->kind == AnswerSpan::Kind::name) {
        return make("By whom " + std::string(words_[*aux].text) + " " + subject(*aux) + " " +
                        text(*aux + 1, i) + "?",
                    text(name->span), "who");
      }
    }
    return std::nullopt;
  }

  // "AUX SUBJECT what stands between", for an answer that follows one of the prepositions.
  template <size_t N>
  Made after_preposition(const char* asked, const std::array<std::string_view, N>& prepositions,
                         AnswerSpan::Kind kind, bool needs_placed_verb) const {
    const auto aux = auxiliary();
    for (size_t i = aux ? *aux + 2 : words_.size(); i + 1 < words_.size() && i <= *aux + kMaxTail;
         ++i) {
      if (words_[i - 1].is_broken_after) {
        break;
      }
      const AnswerSpan* span = is_one_of(words_[i].text, prepositions) ? span_at(i + 1) : nullptr;
      if (span == nullptr || span->kind != kind ||
          (needs_placed_verb && !is_one_of(words_[i - 1].text, kPlacedVerbs))) {
        continue;
      }
      std::string rule(asked);
      rule[0] = rule[0] == 'W' ? 'w' : rule[0];
      return make(
          fmt::format("{} {} {} {}?", asked, words_[*aux].text, subject(*aux), text(*aux + 1, i)),
          text(span->span), rule.c_str());
    }
    return std::nullopt;
  }
  Made when() const { return after_preposition("When", kTimeWords, AnswerSpan::Kind::date, false); }
  Made where() const {
    return after_preposition("Where", kPlaceWords, AnswerSpan::Kind::name, true);
  }

  Made how_many() const {
    for (size_t i = 1; i + 2 < words_.size() && i <= kMaxSubject; ++i) {
      const std::string_view verb = words_[i].text;
      const AnswerSpan* number = span_at(i + 1);
      const bool is_there =
          words_[0].text == "There" && i == 1 && (verb == "were" || verb == "are");
      const bool is_having = verb == "has" || verb == "have" || verb == "had";
      if (number == nullptr || number->kind != AnswerSpan::Kind::number ||
          (!is_there && (!is_having || !is_subject(i)))) {
        continue;
      }
      size_t noun = i + 2;
      while (noun < words_.size() && words_[noun].span.begin < number->span.end) {
        ++noun;
      }
      const size_t end = noun_end(noun);
      if (end == noun) {
        return std::nullopt;
      }
      const std::string things = "How many " + text(noun, end);
      if (is_there) {
        const size_t tail = phrase_end(noun);
        return make(things + " " + std::string(verb) + " there" +
                        (tail > end ? " " + text(end, tail) : "") + "?",
                    text(number->span), "how many");
      }
      const char* aux = verb == "has" ? "does" : verb == "have" ? "do" : "did";
      return make(fmt::format("{} {} {} have?", things, aux, subject(i)), text(number->span),
                  "how many");
    }
    return std::nullopt;
  }
  // Up to two plain words: "members", "large rooms".
  size_t noun_end(size_t begin) const {
    size_t end = begin;
    while (end < words_.size() && end - begin < 2 && !is_function_word(words_[end].text) &&
           !is_number(words_[end].text) && !words_[end].is_broken_before) {
      if (words_[end++].is_broken_after) {
        break;
      }
    }
    return end;
  }

  Made what_is() const {
    const auto aux = auxiliary();
    if (!aux || *aux + 3 >= words_.size() || !is_one_of(words_[*aux + 1].text, kArticles) ||
        (words_[*aux].text != "is" && words_[*aux].text != "was")) {
      return std::nullopt;
    }
    const size_t end = std::min(phrase_end(*aux + 1), *aux + 11);
    return make(fmt::format("{} {} {}?", is_person(*aux) ? "Who" : "What", words_[*aux].text,
                            subject(*aux)),
                text(*aux + 1, end), "what is");
  }

  // The last span, since what stands in front of it leads to it; never the sentence's beginning.
  Made cloze() const {
    for (auto s = spans_.rbegin(); s != spans_.rend(); ++s) {
      if (s->span.begin > words_[2].span.begin) {
        std::string left =
            std::string(passage_.substr(sentence_.begin, s->span.begin - sentence_.begin));
        std::string asked =
            left + "____" + std::string(passage_.substr(s->span.end, sentence_.end - s->span.end));
        std::replace(asked.begin(), asked.end(), '\n', ' ');
        return make("Which words are missing at ____ in: " + asked, text(s->span), "cloze");
      }
    }
    return std::nullopt;
  }

  std::string_view passage_;
  ByteSpan sentence_;
  std::vector<Word> words_;
  std::vector<AnswerSpan> spans_;  // of this sentence
};

}  // namespace

std::vector<Candidate> rule_questions(std::string_view passage) {
  std::vector<Candidate> out;
  const std::vector<AnswerSpan> spans = find_answer_spans(passage);
  for (auto at = spans.begin(); at != spans.end();) {
    const auto end = std::find_if(
        at, spans.end(), [&](const AnswerSpan& s) { return !(s.sentence == at->sentence); });
    SentenceRules(passage, at->sentence, {at, end}).add_to(out);
    at = end;
  }
  return out;
}

}  // namespace offbook::ingest
