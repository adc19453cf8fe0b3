//! The catalogue in memory: every product, what is related to it, and an index of trigrams for "did you mean".
//!
//! Loading it reads the whole product table and costs tens of milliseconds of processor time; a worker does it once. The
//! cold_start fault recycles the worker, so that its process has to start anew as well.

use super::super::database::{DatabaseError, Pool, Row, Statement};
use super::super::timing::Clock;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tracing::{Instrument, info_span};

const ALL_PRODUCTS: Statement = Statement::new(
    "SELECT",
    "product",
    "SELECT product",
    "SELECT id, name, category, price_cents, description FROM product ORDER BY id",
);

/// Products shown beside a product.
const RELATED: usize = 59;
/// What a recycled worker's process takes until it runs code of its own, on any machine.
const PROCESS_START: Duration = Duration::from_millis(50);

/// One product.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Item {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) category: String,
    pub(super) price_cents: i64,
    pub(super) description: String,
}

/// All products and what is derived from them.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    items: Vec<Item>,
    /// Positions in `items`, by price.
    by_category: BTreeMap<String, Vec<u32>>,
    /// Position of an item in its category's list.
    rank: Vec<u32>,
    /// Words of names, and the trigrams that occur in each.
    words: Vec<String>,
    trigrams: HashMap<[u8; 3], Vec<u32>>,
}

impl Catalogue {
    fn build(rows: &[Row]) -> Result<Catalogue, DatabaseError> {
        let items = rows.iter().map(item).collect::<Result<Vec<_>, _>>()?;
        let mut by_category: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (position, item) in items.iter().enumerate() {
            by_category.entry(item.category.clone()).or_default().push(position as u32);
        }
        let mut rank = vec![0; items.len()];
        for positions in by_category.values_mut() {
            positions.sort_by_key(|position| (items[*position as usize].price_cents, *position));
            for (place, position) in positions.iter().enumerate() {
                rank[*position as usize] = place as u32;
            }
        }
        let words = common_words(&items);
        let mut trigrams: HashMap<[u8; 3], Vec<u32>> = HashMap::new();
        for (number, word) in words.iter().enumerate() {
            for trigram in trigrams_of(word) {
                trigrams.entry(trigram).or_default().push(number as u32);
            }
        }
        Ok(Catalogue { items, by_category, rank, words, trigrams })
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Categories and how many products each has.
    pub(super) fn categories(&self) -> BTreeMap<&str, usize> {
        self.by_category.iter().map(|(name, positions)| (name.as_str(), positions.len())).collect()
    }

    /// The product and those next to it in price within its category; empty for an unknown product.
    pub(super) fn with_related(&self, id: i64) -> Vec<i64> {
        let Some(position) = usize::try_from(id - 1).ok().filter(|position| *position < self.items.len())
        else {
            return Vec::new();
        };
        let neighbours = self.by_category.get(&self.items[position].category).map_or(&[][..], Vec::as_slice);
        let from = (self.rank[position] as usize).saturating_sub(RELATED / 2);
        let from = from.min(neighbours.len().saturating_sub(RELATED + 1));
        let others = neighbours.iter().skip(from).map(|other| self.items[*other as usize].id);
        std::iter::once(id).chain(others.filter(|other| *other != id).take(RELATED)).collect()
    }

    /// Words that look most like the given one.
    pub(super) fn suggest(&self, word: &str) -> Vec<&str> {
        let mut shared: HashMap<u32, usize> = HashMap::new();
        for trigram in trigrams_of(word) {
            for number in self.trigrams.get(&trigram).into_iter().flatten() {
                *shared.entry(*number).or_default() += 1;
            }
        }
        let mut best: Vec<(u32, usize)> = shared.into_iter().collect();
        best.sort_by_key(|(number, count)| (std::cmp::Reverse(*count), *number));
        best.into_iter().take(3).map(|(number, _)| self.words[number as usize].as_str()).collect()
    }
}

fn item(row: &Row) -> Result<Item, DatabaseError> {
    Ok(Item {
        id: row.int(0)?,
        name: row.text(1)?.to_owned(),
        category: row.text(2)?.to_owned(),
        price_cents: row.int(3)?,
        description: row.text(4)?.to_owned(),
    })
}

/// The words and the pairs of neighbouring words of all names and descriptions, commonest first; pairs that occur once
/// only are nobody's search.
fn common_words(items: &[Item]) -> Vec<String> {
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for text in items.iter().flat_map(|item| [item.name.as_str(), item.description.as_str()]) {
        let starts = || std::iter::once(0).chain(text.match_indices(' ').map(|(space, _)| space + 1));
        let ends = || text.match_indices(' ').map(|(space, _)| space).chain(std::iter::once(text.len()));
        starts().zip(ends()).for_each(|(from, to)| *counts.entry(&text[from..to]).or_default() += 1);
        starts().zip(ends().skip(1)).for_each(|(from, to)| *counts.entry(&text[from..to]).or_default() += 1);
    }
    let spelt = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b' ');
    let mut words: Vec<(&str, u32)> = counts
        .into_iter()
        .filter(|(word, count)| spelt(word) && (*count > 1 || !word.contains(' ')))
        .collect();
    words.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), *word));
    words.into_iter().map(|(word, _)| word.to_owned()).collect()
}

fn trigrams_of(word: &str) -> impl Iterator<Item = [u8; 3]> + '_ {
    word.as_bytes().windows(3).map(|window| [window[0], window[1], window[2]])
}

/// Holds the catalogue once it is loaded. One request loads it, the others wait.
#[derive(Debug, Default)]
pub(super) struct CatalogueCell {
    current: RwLock<Option<Arc<Catalogue>>>,
    recycled: AtomicBool,
    loading: tokio::sync::Mutex<()>,
}

impl CatalogueCell {
    /// What a worker that is replaced by another knew is gone.
    pub(super) fn recycle(&self) {
        self.recycled.store(true, Ordering::Relaxed);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn loaded(&self) -> Option<Arc<Catalogue>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn get(&self, pool: &Pool, clock: &Clock) -> Result<Arc<Catalogue>, DatabaseError> {
        if let Some(catalogue) = self.loaded() {
            return Ok(catalogue);
        }
        let span = info_span!(
            "load catalogue",
            otel.kind = "internal",
            "code.function.name" = "hotspan::demo::shop::catalogue::CatalogueCell::load",
            "code.file.path" = file!(),
            "code.line.number" = i64::from(line!()),
        );
        self.load(pool, clock).instrument(span).await
    }

    async fn load(&self, pool: &Pool, clock: &Clock) -> Result<Arc<Catalogue>, DatabaseError> {
        let _loading = self.loading.lock().await;
        if let Some(catalogue) = self.loaded() {
            return Ok(catalogue);
        }
        if self.recycled.swap(false, Ordering::Relaxed) {
            tokio::time::sleep(PROCESS_START).await;
        }
        let rows = pool.acquire(clock).await?.query(clock, &ALL_PRODUCTS, &[]).await?;
        let built = tokio::task::spawn_blocking(move || Catalogue::build(&rows)).await;
        let catalogue = Arc::new(built.map_err(|_| DatabaseError::Closed)??);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(catalogue.clone());
        Ok(catalogue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        let items = (1..=100).map(|id| Item {
            id,
            name: format!("amber lamp {id}"),
            category: if id % 2 == 0 { "even" } else { "odd" }.to_owned(),
            price_cents: 1_000 - id,
            description: "lantern ladder".to_owned(),
        });
        let mut catalogue = Catalogue { items: items.collect(), ..Catalogue::default() };
        catalogue.rank = vec![0; 100];
        for parity in [0, 1] {
            let positions: Vec<u32> = (0..100).rev().filter(|position| position % 2 == parity).collect();
            for (place, position) in positions.iter().enumerate() {
                catalogue.rank[*position as usize] = place as u32;
            }
            catalogue.by_category.insert(if parity == 1 { "even" } else { "odd" }.to_owned(), positions);
        }
        catalogue.words = common_words(&catalogue.items);
        for (number, word) in catalogue.words.iter().enumerate() {
            for trigram in trigrams_of(word) {
                catalogue.trigrams.entry(trigram).or_default().push(number as u32);
            }
        }
        catalogue
    }

    #[test]
    fn related_products_are_of_one_category_and_begin_with_the_product() {
        let catalogue = catalogue();
        for id in [1, 2, 50, 99, 100] {
            let ids = catalogue.with_related(id);
            assert_eq!(ids.len(), 50.min(RELATED + 1), "of {id}");
            assert_eq!(ids[0], id);
            assert!(ids.iter().all(|other| other % 2 == id % 2));
            assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
        }
        assert!(catalogue.with_related(0).is_empty() && catalogue.with_related(101).is_empty());
    }

    #[test]
    fn a_misspelt_word_finds_the_nearest() {
        assert_eq!(catalogue().suggest("lanterm")[0], "lantern");
        assert!(catalogue().suggest("zz").is_empty());
    }
}
