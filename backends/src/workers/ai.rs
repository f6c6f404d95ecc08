//! Summaries, by rules of thumb instead of a model: the sentences that hold the text's frequent words, in their order.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{event::Event, worker::Outcome};

const USUAL_SENTENCES: usize = 3;
const MOST_KEYWORDS: usize = 5;
/// Shorter words say little.
const SHORTEST_WORD: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    text: String,
    #[serde(default)]
    sentences: Option<usize>,
}

pub(super) fn handle(event: &Event) -> Outcome {
    match event.ask() {
        Ok(Order { text, .. }) if text.trim().is_empty() => Outcome::Failed("`text` is empty".to_owned()),
        Ok(Order { text, sentences }) => Outcome::Done(summarise(&text, sentences.unwrap_or(USUAL_SENTENCES).max(1))),
        Err(why) => Outcome::Failed(why),
    }
}

fn summarise(text: &str, most: usize) -> Value {
    let sentences: Vec<&str> =
        text.split_inclusive(['.', '!', '?', '\n']).map(str::trim).filter(|sentence| !sentence.is_empty()).collect();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in words(text) {
        *counts.entry(word).or_default() += 1;
    }
    // Long sentences hold more words and are not better for that.
    let weight = |sentence: &str| {
        let found: Vec<usize> = words(sentence).filter_map(|word| counts.get(&word).copied()).collect();
        found.iter().sum::<usize>() * 1000 / (found.len() + 2)
    };
    let mut ranked: Vec<(usize, usize)> =
        sentences.iter().enumerate().map(|(place, sentence)| (weight(sentence), place)).collect();
    // Of two that weigh the same the earlier one.
    ranked.sort_by_key(|(weight, place)| (std::cmp::Reverse(*weight), *place));
    let mut chosen: Vec<usize> = ranked.into_iter().take(most).map(|(_, place)| place).collect();
    chosen.sort_unstable();
    let summary: Vec<&str> = chosen.into_iter().filter_map(|place| sentences.get(place).copied()).collect();
    let mut keywords: Vec<(&String, &usize)> = counts.iter().collect();
    keywords.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), (*word).clone()));
    let keywords: Vec<&String> = keywords.into_iter().take(MOST_KEYWORDS).map(|(word, _)| word).collect();
    json!({
        "summary": summary.join(" "),
        "keywords": keywords,
        "sentences": sentences.len(),
        "words": text.split_whitespace().count(),
        "model": "rules of thumb",
    })
}

/// The words that count, in small letters.
fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| word.chars().count() >= SHORTEST_WORD).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_keeps_the_sentences_with_the_frequent_words_in_their_order() {
        let text =
            "Gateways route requests. Yesterday it rained a lot! Requests need gateways; gateways route them. Goodbye.";
        let summary = summarise(text, 2);
        assert_eq!(summary["summary"], "Gateways route requests. Requests need gateways; gateways route them.");
        assert_eq!(summary["keywords"][0], "gateways");
        assert_eq!((&summary["sentences"], &summary["words"]), (&json!(4), &json!(15)));
    }
}
