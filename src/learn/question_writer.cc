#include "src/learn/question_writer.h"

namespace offbook::learn {
namespace {

constexpr size_t kSideBySide = 8;  // a row's bits are the same alone or among at most eight
constexpr int kMaxQuestionTokens = 40;

std::string ask_for(const std::string& answer) {
  return "Write one question about the text that is answered by: " + answer;
}
std::string text_block(const std::string& passage) {
  return "Text: " + passage + "\n\n";
}

struct Shown {
  const char* passage;
  const char* answer;
  const char* question;
};
constexpr Shown kShown[] = {
    {"The lighthouse on Gull Island was finished in 1871. Its first keeper, Anna Berg, lived there "
     "with two dogs and wrote letters to her sister every week.",
     "Anna Berg", "Who was the first keeper of the lighthouse on Gull Island?"},
    {"After the flood the town council voted to raise the river wall by 40 centimetres. The work "
     "was paid for by a tax on boats.",
     "a tax on boats", "How was the work on the river wall paid for after the flood?"}};

// System message and examples; the last message's passage begins the next stage.
std::vector<text::ChatMessage> writer_messages(const std::string& passage,
                                               const std::string& answer) {
  std::vector<text::ChatMessage> out{{"system", "You write short questions about texts.", {}}};
  for (const Shown& s : kShown) {
    out.push_back({"user", text_block(s.passage) + ask_for(s.answer), {}});
    out.push_back({"assistant", s.question, {}});
  }
  const std::string block = text_block(passage);
  out.push_back({"user", block + ask_for(answer), {0, block.size()}});
  return out;
}

bool is_whole_question(const std::string& text) {
  return text.find_first_of("?\n") != std::string::npos;
}

std::string question_in(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \n\"");
  const size_t end = text.find('?');
  return begin == std::string::npos || end == std::string::npos || end < begin
             ? text
             : text.substr(begin, end + 1 - begin);
}

}  // namespace

QuestionWriter::QuestionWriter(StagedReader& reader) : reader_(reader), examples_(reader.start()) {
  examples_ = reader_.follow(reader_.start(), reader_.stages(writer_messages("", "")).front());
}

std::vector<Candidate> QuestionWriter::write(std::span<const Request> requests) {
  std::vector<Candidate> out;
  for (size_t at = 0; at < requests.size(); at += kSideBySide) {
    const auto group = requests.subspan(at, std::min(kSideBySide, requests.size() - at));
    std::vector<model::Sequence> passages;
    std::vector<StagedReader::Prompt> prompts;
    passages.reserve(group.size());
    for (const Request& r : group) {
      const auto stages = reader_.stages(writer_messages(r.passage, r.answer));
      passages.push_back(reader_.follow(examples_, stages[1]));
      prompts.push_back({&passages.back(), stages[2]});
    }
    const auto texts = reader_.complete(prompts, kMaxQuestionTokens, is_whole_question);
    for (size_t i = 0; i < group.size(); ++i) {
      out.push_back({.question = question_in(texts[i]),
                     .answer = group[i].answer,
                     .rule = group[i].rule,
                     .source = Example::Source::by_model});
    }
  }
  return out;
}

AnswerJudge::AnswerJudge(StagedReader& reader) : reader_(reader) {}

std::vector<text::ChatMessage> AnswerJudge::messages(const std::string& passage,
                                                     const std::string& question) const {
  const std::string block = passage.empty() ? "" : text_block(passage);
  return {{"system", "You answer questions in a few words.", {}},
          {"user", block + "Question: " + question, {block.size()}}};
}

std::vector<AnswerSupport> AnswerJudge::judge(const std::string& passage,
                                              std::span<const Candidate> candidates) {
  std::vector<AnswerSupport> out;
  if (candidates.empty()) {
    return out;
  }
  const auto first = reader_.stages(messages(passage, candidates.front().question)).front();
  const model::Sequence with = reader_.follow(reader_.start(), first);
  const model::Sequence none =
      reader_.follow(reader_.start(), reader_.stages(messages("", "Q?")).front());
  for (const Candidate& c : candidates) {
    const auto answer = reader_.model().tokenizer().encode(c.answer, {.add_special = false}).ids;
    out.push_back(
        {reader_.log_probability({&with, reader_.stages(messages(passage, c.question))[1]}, answer),
         reader_.log_probability({&none, reader_.stages(messages("", c.question))[1]}, answer)});
  }
  return out;
}

}  // namespace offbook::learn
