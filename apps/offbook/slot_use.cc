#include "apps/offbook/slot_use.h"

#include "src/learn/fidelity.h"

namespace offbook::app {
namespace {

using nlohmann::json;

json settings_of(store::Corpus& corpus, int64_t generation) {
  for (const store::Generation& g : corpus.generations().list()) {
    if (g.number == generation) {
      return g.settings;
    }
  }
  return json::object();
}

bool is_asked_for(answer::SlotUse use) {
  return use == answer::SlotUse::always || use == answer::SlotUse::only;
}

}  // namespace

void OpenSlots::store_made(const Shell& shell, const std::string& name) {
  const auto made = source->take_made();
  const auto used = source->take_used();
  if (made.empty()) {
    return;
  }
  try {
    store::Corpus corpus = shell.corpora().open(name, store::Access::write);
    for (const auto& m : made) {
      corpus.contexts().put(m.document, m.segment, m.context,
                            static_cast<store::KvPrecision>(kv_bits));
    }
    for (const auto& [document, ordinal] : used) {
      corpus.contexts().count_hit(document, ordinal, source->recipe_of(document));
    }
    corpus.contexts().enforce_budget(max_bytes);
  } catch (const Error& e) {
    shell.log({{"event", "contexts_not_kept"}, {"corpus", name}, {"error", to_string(e.code())}});
  }
}

std::unique_ptr<OpenSlots> open_slots(const Shell& shell, Engines& engines, OpenCorpus& open,
                                      answer::SlotUse use, const std::filesystem::path& weights) {
  const json settings = settings_of(open.corpus, open.generation);
  const json saved = settings.value("compress", json());
  const bool has_contexts = saved.is_object() && !saved.value("is_query_aware", false);
  OB_REQUIRE(has_contexts || !is_asked_for(use), NotFound,
             "the corpus holds no compressed documents; `offbook compress` makes them");
  if (!has_contexts || use == answer::SlotUse::never) {
    return nullptr;
  }
  auto trusted = trusted_documents(open.corpus, open.generation, saved.value("method", ""));
  if (trusted.empty() && use == answer::SlotUse::automatic) {
    return nullptr;
  }
  auto slots = std::make_unique<OpenSlots>();
  slots->compressor = compressor_of(shell, engines, settings, weights);
  if (!slots->compressor.open) {
    OB_REQUIRE(!is_asked_for(use), NotFound, "{}", slots->compressor.why_none);
    shell.note("{}", slots->compressor.why_none);
    return nullptr;
  }
  slots->kv_bits = saved.value("kv_bits", 8);
  slots->max_bytes = saved.value("max_bytes", learn::CompressOptions{}.max_bytes);
  const OpenCompressor& compressor = *slots->compressor.open;
  slots->source.emplace(open.corpus, *compressor.compressor, compressor.base,
                        writing_context(engines),
                        answer::SlotSource::Config{
                            .recipe = compressor.recipe(),
                            .ratios = ratios_of_documents(open.corpus, open.generation, compressor),
                            .trusted = std::move(trusted)});
  return slots;
}

std::set<int64_t> trusted_documents(store::Corpus& corpus, int64_t generation,
                                    const std::string& method) {
  std::set<int64_t> trusted;
  for (const store::ChosenRatio& r : corpus.generations().ratios(generation)) {
    if (r.ratio > 0 && r.method == method) {
      trusted.insert(r.document);
    }
  }
  for (const store::Fidelity& f : corpus.generations().fidelity(generation)) {
    if (f.method == method && f.use_slots) {
      trusted.insert(f.document);
    } else if (f.method == method && f.questions >= learn::kFewestFidelityQuestions) {
      trusted.erase(f.document);  // questions say more than the text does
    }
  }
  return trusted;
}

std::map<int64_t, double> ratios_of_documents(store::Corpus& corpus, int64_t generation,
                                              const OpenCompressor& compressor) {
  std::map<int64_t, double> ratios;
  if (compressor.is_auto) {
    for (const store::ChosenRatio& r : corpus.generations().ratios(generation)) {
      if (r.method == compressor.describe().id) {
        ratios[r.document] = r.ratio;
      }
    }
  }
  return ratios;
}

std::string query_aware_method(OpenCorpus& open) {
  const json saved = settings_of(open.corpus, open.generation).value("compress", json());
  return saved.is_object() && saved.value("is_query_aware", false) ? saved.value("method", "") : "";
}

CompressorChoice open_passage_compressor(const Shell& shell, Engines& engines,
                                         const std::string& method) {
  OB_REQUIRE(compress::find_method(method).kind == ContextKind::text, InvalidArgument,
             "--method {} makes slots of documents beforehand (`offbook compress`); passages are "
             "compressed by a method that keeps text",
             method);
  CompressionOptions options;
  options.method = method;
  return open_compressor(shell, engines, options);
}

}  // namespace offbook::app
