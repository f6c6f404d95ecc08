//! A tree of path segments over patterns. A change copies the nodes from the root to the leaf that it touches and shares all
//! others; a walk meets what fits a path, the most specific first.

use std::sync::Arc;

use super::pattern::{Captures, Segment};
use super::table::Table;

/// What may follow one path segment.
#[derive(Debug)]
pub(super) struct Node<T> {
    pub(super) literals: Table<Arc<Node<T>>>,
    pub(super) named: Option<Arc<Node<T>>>,
    /// Whose pattern ends in a catch-all here, in an order of their own.
    pub(super) rest: Vec<T>,
    /// Whose pattern ends here, in an order of their own.
    pub(super) ends: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: Table::default(), named: None, rest: Vec::new(), ends: Vec::new() }
    }
}

impl<T: Clone> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self {
            literals: self.literals.clone(),
            named: self.named.clone(),
            rest: self.rest.clone(),
            ends: self.ends.clone(),
        }
    }
}

impl<T: Clone> Node<T> {
    /// Edits what stands under a pattern, and drops the branches that are empty afterwards.
    pub(super) fn edit(&mut self, segments: &[Segment], edit: impl FnOnce(&mut Vec<T>)) {
        match segments.split_first() {
            None => edit(&mut self.ends),
            Some((Segment::Rest(_), _)) => edit(&mut self.rest),
            Some((Segment::Named(_), after)) => {
                Arc::make_mut(self.named.get_or_insert_default()).edit(after, edit);
                self.named.take_if(|named| named.is_empty());
            }
            Some((Segment::Literal(literal), after)) => {
                child(&mut self.literals, literal).edit(after, edit);
                if self.literals.get(literal).is_some_and(|node| node.is_empty()) {
                    self.literals.remove(literal);
                }
            }
        }
    }

    /// What stands under exactly this pattern, but for the names.
    pub(super) fn leaf(&self, segments: &[Segment]) -> &[T] {
        let deeper = match segments.split_first() {
            None => return &self.ends,
            Some((Segment::Rest(_), _)) => return &self.rest,
            Some((Segment::Named(_), after)) => self.named.as_ref().map(|node| (node, after)),
            Some((Segment::Literal(literal), after)) => self.literals.get(literal).map(|node| (node, after)),
        };
        deeper.map_or(&[], |(node, after)| node.leaf(after))
    }

    /// All that it holds, in no particular order.
    pub(super) fn each<'t>(&'t self, look: &mut impl FnMut(&'t T)) {
        self.ends.iter().chain(&self.rest).for_each(&mut *look);
        for node in self.literals.values().chain(&self.named) {
            node.each(look);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.named.is_none() && self.rest.is_empty() && self.ends.is_empty()
    }
}

/// The node under `key`, made if it is missing, and this table's own from now on.
pub(super) fn child<'t, T: Clone>(table: &'t mut Table<Arc<Node<T>>>, key: &str) -> &'t mut Node<T> {
    if table.get(key).is_none() {
        table.insert(key, Arc::default());
    }
    match table.get_mut(key) {
        Some(node) => Arc::make_mut(node),
        None => unreachable!("it was inserted above"),
    }
}

/// Meets all whose pattern fits `path`: literal before named before catch-all, segment by segment. `pick` chooses among those
/// that stand under one pattern; the first choice ends the walk.
pub(super) struct Walk<'a, P> {
    pub(super) path: &'a str,
    pub(super) captures: Captures,
    pub(super) pick: P,
}

impl<'a, P> Walk<'a, P> {
    pub(super) fn new(path: &'a str, pick: P) -> Self {
        Self { path, captures: Captures::new(), pick }
    }

    /// `at` is where the next segment begins; `None` when the path is used up.
    pub(super) fn walk<T: Clone, R>(&mut self, node: &'a Node<T>, at: Option<usize>) -> Option<R>
    where
        P: FnMut(&'a [T]) -> Option<R>,
    {
        let Some(at) = at else { return (self.pick)(&node.ends) };
        let path: &'a str = self.path;
        let rest = path.get(at..)?;
        let (segment, next) = match rest.find('/') {
            Some(length) => (rest.get(..length)?, Some(at + length + 1)),
            None => (rest, None),
        };
        if let Some(child) = node.literals.get(segment)
            && let Some(found) = self.walk(child, next)
        {
            return Some(found);
        }
        if let Some(child) = &node.named
            && !segment.is_empty()
        {
            self.capture(at, at + segment.len());
            if let Some(found) = self.walk(child, next) {
                return Some(found);
            }
            self.captures.pop();
        }
        if node.rest.is_empty() {
            return None;
        }
        self.capture(at, path.len());
        let found = (self.pick)(&node.rest);
        if found.is_none() {
            self.captures.pop();
        }
        found
    }

    #[expect(clippy::cast_possible_truncation, reason = "a request's head is bounded far below 4 GiB")]
    fn capture(&mut self, from: usize, to: usize) {
        self.captures.push((from as u32, to as u32));
    }
}
