// Generations: what one `learn` made, which one answers, and the fidelity of its documents.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/store/document_table.h"
#include "src/store/sqlite.h"

namespace offbook::store {

// Written into the database: never renumber.
enum class GenerationState : uint8_t { building = 0, active = 1, old = 2, failed = 3 };

struct Generation {
  int64_t number = 0;
  GenerationState state = GenerationState::building;
  std::string adapter;  // empty: answers with the base model
  bool is_adapter_stale = false;
  nlohmann::json settings = nlohmann::json::object();
  std::string note;  // why it failed, what assess said
  int64_t created_ns = 0;
  int64_t document_count = 0;
};

// Measured for one document and method.
struct Fidelity {
  int64_t document = 0;
  std::string method;
  double score = 0, lower = 0,
         upper = 0;  // token F1 with slots over F1 with raw text; 90% interval
  int questions = 0;
  bool use_slots = false;
};

// What a group of documents is answered with in place of the generation's own adapter.
struct GroupAdapter {
  std::string group;
  std::string adapter;
  bool is_stale = false;
  std::string note;  // what assess said
};

// At which ratio a document is compressed where each has its own.
struct ChosenRatio {
  int64_t document = 0;
  std::string method;
  double ratio = 0;  // 0: not at all, it is answered from raw text
  double score = 0;  // of its text, at this ratio; of a raw one at the lowest that was tried
  int probes = 0;    // questions the score rests on
};

// Views of the corpus's connection; must not outlive the corpus.
class GenerationTable {
 public:
  GenerationTable(Database& db, Clock clock) : db_(db), clock_(std::move(clock)) {}

  // The generation being built, or a new one that starts with the active one's documents and
  // adapters. Settings are kept as given now.
  int64_t begin(const nlohmann::json& settings);
  void set_adapter(int64_t number, const std::string& adapter_id);  // "" for none
  // The adapter of a group of documents; "" for none.
  void set_group_adapter(int64_t number, const std::string& group, const std::string& adapter_id,
                         const std::string& note);
  std::vector<GroupAdapter> group_adapters(int64_t number);  // by group
  // The building one becomes active, the active one old, in one step. InvalidArgument when it is
  // not being built.
  void activate(int64_t number);
  void mark_failed(int64_t number, const std::string& note);
  // The newest old generation becomes active again, at once; returns its number.
  // InvalidArgument when there is none.
  int64_t rollback();

  std::optional<Generation> active();
  std::optional<Generation> building();
  std::vector<Generation> list();  // by number
  // Number of the active one; NotFound, saying what to do, when nothing has been learned yet.
  int64_t require_active();

  void put_fidelity(int64_t number, const Fidelity& fidelity);
  std::vector<Fidelity> fidelity(int64_t number);  // by document and method
  void put_ratio(int64_t number, const ChosenRatio& ratio);
  std::vector<ChosenRatio> ratios(int64_t number);  // by document and method

 private:
  std::vector<Generation> select(const std::string& where);

  Database& db_;
  Clock clock_;
};

}  // namespace offbook::store
