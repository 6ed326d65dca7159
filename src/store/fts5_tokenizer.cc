#include "src/store/fts5_tokenizer.h"

#include <sqlite3.h>

namespace offbook::store {
namespace {

struct Cut {
  std::string_view text;
  const WordCutter::Visit& visit;
  std::exception_ptr error;  // must not cross SQLite's C frames
};

int on_token(void* context, int, const char* term, int bytes, int begin, int end) {
  auto& cut = *static_cast<Cut*>(context);
  try {
    cut.visit({term, static_cast<size_t>(bytes)},
              cut.text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    return SQLITE_OK;
  } catch (...) {
    cut.error = std::current_exception();
    return SQLITE_ABORT;
  }
}

}  // namespace

fts5_api* fts5_api_of(Database& db) {
  fts5_api* api = nullptr;
  Query q = db.query("SELECT fts5(?1)");
  sqlite3_bind_pointer(q.raw(), 1, &api, "fts5_api_ptr", nullptr);
  q.step();
  OB_REQUIRE(api != nullptr, Unsupported, "this SQLite has no full-text search (FTS5)");
  return api;
}

WordCutter::WordCutter(Database& db) : functions_(std::make_unique<fts5_tokenizer>()) {
  fts5_api* api = fts5_api_of(db);
  // The same words as in the schema's tokenize='…'.
  const char* arguments[] = {"unicode61", "remove_diacritics", "2"};
  void* user_data = nullptr;
  int code = api->xFindTokenizer(api, "porter", &user_data, functions_.get());
  if (code == SQLITE_OK) {
    code = functions_->xCreate(user_data, arguments, 3, &tokenizer_);
  }
  if (code != SQLITE_OK) {
    db.fail(code, "make the tokenizer of the full-text index");
  }
}

WordCutter::~WordCutter() {
  if (tokenizer_ != nullptr) {
    functions_->xDelete(tokenizer_);
  }
}

void WordCutter::cut(std::string_view text, const Visit& visit) const {
  Cut cut{text, visit, nullptr};
  functions_->xTokenize(tokenizer_, &cut, FTS5_TOKENIZE_AUX, text.data(),
                        static_cast<int>(text.size()), on_token);
  if (cut.error) {
    std::rethrow_exception(cut.error);
  }
}

}  // namespace offbook::store
