// Bar: one `offbook learn` run of 50 kB of text is killed (-9) 50 times, at least 8 times in each
// stage, and ends as an undisturbed run does: content-addressed files equal byte for byte,
// the ordered dump of SQLite equal; nothing that was done before a kill is missing after it; at
// most 30 s of work are lost per kill. --quick: 20 kB, the stages without training, 3 kills each.
// Sabotaged, one artefact of the killed corpus is overwritten before the comparison.
// usage: bar_store_kills OFFBOOK [--quick] [--sabotage]; the stages come from the program's --log.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/random.h"
#include "src/store/check.h"
#include "src/store/corpora.h"
#include "src/store/dump.h"

namespace offbook {
namespace {

using Clock = std::chrono::steady_clock;
using Path = std::filesystem::path;

double since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

struct Plan {
  size_t text_bytes = 50'000;
  int kills = 50;
  int kills_a_stage = 8;
  std::set<std::string> left_out;  // stages that have nothing to do with these arguments
  // Each stage long enough to be met 9 times; all of it within eight minutes on four cores.
  std::vector<std::string> arguments = {"--train", "--minutes",      "0",    "--study-passages",
                                        "16",      "--train-tokens", "8000", "--assess-questions",
                                        "8"};
};

// Where a run is: the stage of the last "stage" line of its log, and when the line was seen.
struct Seen {
  std::string stage;
  Clock::time_point at;
};

class Bar {
 public:
  Bar(Path program, Plan plan)
      : program_(std::move(program)),
        plan_(std::move(plan)),
        root_(std::filesystem::temp_directory_path() /
              fmt::format("offbook_kills_{}", ::getpid())) {
    std::filesystem::create_directories(root_ / "docs");
  }
  ~Bar() { std::filesystem::remove_all(root_); }

  int run(bool is_sabotaged) {
    write_documents();
    const auto began = Clock::now();
    OB_REQUIRE(wait_for(start("calm"), "calm", 0, "") == 0, Io, "the undisturbed run failed:\n{}",
               text_of(root_ / "calm.out"));
    const double calm_seconds = since(began);
    std::printf("undisturbed: %.0f s, stages", calm_seconds);
    for (const auto& stage : order_) {
      std::printf(" %s %.1f s%s", stage.c_str(), seconds_of_[stage],
                  stage == order_.back() ? "\n" : ",");
    }
    std::fflush(stdout);
    const bool is_done = disturb(calm_seconds);
    if (is_sabotaged) {
      overwrite_one_artefact();
    }
    const bool is_equal = compare();
    std::printf("store_kills: %s\n", is_done && is_equal ? "holds" : "falls short");
    return is_done && is_equal ? bars::kHolds : bars::kShort;
  }

 private:
  void write_documents() {
    const auto records =
        bars::lines_of(bars::decompressed(bars::data_directory() / "data/fairytaleqa.jsonl.zst"));
    size_t bytes = 0;
    for (const auto& record : records) {
      const auto text = record["text"].get<std::string>();
      if (bytes + text.size() <= plan_.text_bytes) {
        bytes += text.size();
        std::ofstream(root_ / "docs" / (record["id"].get<std::string>() + ".txt")) << text;
      }
    }
    std::printf("%zu bytes of text\n", bytes);
  }

  pid_t start(const std::string& corpus) {
    std::vector<std::string> words = {program_,
                                      "--corpora",
                                      root_ / "corpora",
                                      "--cache",
                                      root_ / "cache",
                                      "--models",
                                      bars::model_directory(),
                                      "--log",
                                      root_ / (corpus + ".log"),
                                      "learn",
                                      root_ / "docs",
                                      "--into",
                                      corpus};
    words.insert(words.end(), plan_.arguments.begin(), plan_.arguments.end());
    std::filesystem::remove(root_ / (corpus + ".log"));
    const std::string out = root_ / (corpus + ".out");
    const pid_t child = ::fork();
    if (child == 0) {
      const int file = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      ::dup2(file, 1);
      ::dup2(file, 2);
      std::vector<char*> pointers;
      for (std::string& word : words) {
        pointers.push_back(word.data());
      }
      pointers.push_back(nullptr);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
    return child;
  }

  static std::string text_of(const Path& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  // Follows a run by its log. Kills it `after` seconds into `stage` (empty: never), or as soon as a
  // later stage has begun. Returns the exit code, −1 when it was killed; notes what each stage took
  // on the undisturbed run.
  int wait_for(pid_t child, const std::string& corpus, double after, const std::string& stage) {
    Seen seen{"start", Clock::now()};
    size_t lines = 0;
    while (true) {
      int status = 0;
      const bool has_ended = ::waitpid(child, &status, WNOHANG) == child;
      std::ifstream log(root_ / (corpus + ".log"));
      std::string line;
      for (size_t n = 0; std::getline(log, line); ++n) {
        const auto event = nlohmann::json::parse(line, nullptr, false);
        if (n < lines || event.is_discarded() || event.value("event", "") != "stage") {
          continue;
        }
        lines = n + 1;
        note_time(corpus, seen);
        seen = {event["stage"], Clock::now()};
      }
      if (has_ended) {
        note_time(corpus, seen);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
      }
      if (!stage.empty() &&
          (is_after(seen.stage, stage) || (seen.stage == stage && since(seen.at) >= after))) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
        killed_in_ = seen.stage;
        return WIFSIGNALED(status) ? -1 : WEXITSTATUS(status);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  bool is_after(const std::string& stage, const std::string& other) const {
    const auto at = std::find(order_.begin(), order_.end(), other);
    return at != order_.end() && std::find(at + 1, order_.end(), stage) != order_.end();
  }

  void note_time(const std::string& corpus, const Seen& seen) {
    if (corpus == "calm" && seen.stage != "start" && !plan_.left_out.contains(seen.stage)) {
      seconds_of_[seen.stage] = since(seen.at);
      order_.push_back(seen.stage);
    }
  }

  // Kills the run in stage after stage. The moments are drawn so that the kills of a stage meet it
  // at most 70% done on average: once it has ended it is not there to be killed any more, and the
  // kill meant for it falls on the stage behind it.
  bool disturb(double calm_seconds) {
    Random random(3);
    int kills = 0;
    double seconds = 0;
    bool is_whole = true;
    const int per_stage =
        std::max(plan_.kills_a_stage, plan_.kills / static_cast<int>(order_.size()) + 1);
    std::map<std::string, int> kills_of;
    for (const std::string& stage : order_) {
      int& here = kills_of[stage];
      while (here < per_stage) {
        const double share = random.uniform() * 1.4 / per_stage;
        const auto began = Clock::now();
        const int code = wait_for(start("killed"), "killed", share * seconds_of_[stage], stage);
        seconds += since(began);
        if (code != -1) {
          OB_REQUIRE(code == 0, Io, "a resumed run failed:\n{}", text_of(root_ / "killed.out"));
          break;
        }
        ++kills_of[killed_in_];
        is_whole = is_nothing_lost() && is_whole;
        if (killed_in_ != stage) {
          break;
        }
      }
      std::printf("  %s: killed %d times\n", stage.c_str(), here);
      std::fflush(stdout);
      kills += here;
      is_whole = is_whole && here >= plan_.kills_a_stage;
    }
    const auto began = Clock::now();
    OB_REQUIRE(wait_for(start("killed"), "killed", 0, "") == 0, Io, "the last run failed:\n{}",
               text_of(root_ / "killed.out"));
    seconds += since(began);
    const double lost = (seconds - calm_seconds) / kills;
    std::printf("%d kills (bar %d); %.1f s lost a kill with start-up (bar 30)\n", kills,
                plan_.kills, lost);
    return is_whole && kills >= plan_.kills && lost <= 30;
  }

  // Units of work once done stay done, and the corpus is sound.
  bool is_nothing_lost() {
    const store::Corpora corpora(root_ / "corpora");
    if (!store::Corpus::is_corpus(real_file_system(), corpora.path_of("killed"))) {
      return true;
    }
    store::Corpus corpus = corpora.open("killed", store::Access::write);
    bool is_whole = true;
    for (const std::string& stage : order_) {
      std::set<std::string> done;
      for (const store::JobRecord& job : corpus.jobs().list(stage)) {
        if (job.state == store::JobState::done) {
          done.insert(job.unit + " " + job.input);
        }
      }
      for (const std::string& unit : done_[stage]) {
        if (!done.contains(unit)) {
          std::printf("  lost: %s %s\n", stage.c_str(), unit.c_str());
          is_whole = false;
        }
      }
      done_[stage] = std::move(done);
    }
    for (const store::Finding& finding : store::check(corpus, false).findings) {
      if (finding.is_damage) {
        std::printf("  damage: %s\n", finding.what.c_str());
        is_whole = false;
      }
    }
    return is_whole;
  }

  std::map<std::string, std::string> artefacts(const std::string& corpus) const {
    std::map<std::string, std::string> files;
    const Path folder = root_ / "corpora" / corpus / "artefacts";
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) {
        files[std::filesystem::relative(entry.path(), folder)] = text_of(entry.path());
      }
    }
    return files;
  }

  void overwrite_one_artefact() {
    const Path folder = root_ / "corpora/killed/artefacts";
    const Path path = folder / artefacts("killed").begin()->first;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    std::ofstream(path) << "not what it was";
  }

  bool compare() {
    const store::Corpora corpora(root_ / "corpora");
    std::string dumps[2];
    for (const std::string name : {"calm", "killed"}) {
      store::Corpus corpus = corpora.open(name, store::Access::write);
      store::collect_garbage(corpus);
      std::ostringstream out;
      store::dump(corpus, out);
      dumps[name == "killed"] = out.str();
    }
    const auto calm = artefacts("calm"), killed = artefacts("killed");
    size_t unequal = 0;
    for (const auto& [name, bytes] : calm) {
      unequal += !killed.contains(name) || killed.at(name) != bytes;
    }
    const size_t extra = killed.size() > calm.size() ? killed.size() - calm.size() : 0;
    std::printf("%zu artefact files, %zu of them not equal, %zu more; dump of %zu bytes %s\n",
                calm.size(), unequal, extra, dumps[0].size(),
                dumps[0] == dumps[1] ? "equal" : "NOT equal");
    if (dumps[0] != dumps[1]) {
      show_first_difference(dumps[0], dumps[1]);
    }
    return unequal == 0 && extra == 0 && dumps[0] == dumps[1];
  }

  static void show_first_difference(const std::string& a, const std::string& b) {
    std::istringstream left(a), right(b);
    std::string one, other;
    while (std::getline(left, one) && std::getline(right, other) && one == other) {
    }
    std::printf("  undisturbed: %.300s\n  killed:      %.300s\n", one.c_str(), other.c_str());
  }

  Path program_;
  Plan plan_;
  Path root_;
  std::map<std::string, double> seconds_of_;
  std::vector<std::string> order_;
  std::string killed_in_;  // the stage in which the last kill fell
  std::map<std::string, std::set<std::string>> done_;
};

int run(int argc, char** argv) {
  const bars::Options options = bars::parse(argc, argv);
  if (argc < 2 || argv[1][0] == '-') {
    std::printf("usage: bar_store_kills OFFBOOK [--quick] [--sabotage]\n");
    return 2;
  }
  for (const Path& path : {bars::data_directory() / "data/fairytaleqa.jsonl.zst", Path(argv[1]),
                           bars::model_directory() / "smollm2-135m-instruct",
                           bars::model_directory() / "all-minilm-l6-v2"}) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  Plan plan;
  if (options.quick) {
    plan = {.text_bytes = 20'000,
            .kills = 6,
            .kills_a_stage = 3,
            .left_out = {"compress", "study", "train", "assess"},
            .arguments = {"--no-train", "--method", "none"}};
  }
  return Bar(std::filesystem::absolute(argv[1]), plan).run(options.sabotage);
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  try {
    return offbook::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
