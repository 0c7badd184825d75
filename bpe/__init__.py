"""Week 5, text to ids: tokenizer, chat template, data sets, the embedded corpus, shards."""
