//! A tree of path segments over patterns. A change copies the nodes from the root to the leaf that it touches and shares all
//! others; a walk meets what fits a path, the most specific first.
//!
//! Patterns come as skeletons: `/api/{}/items/{*}`, without the names. No literal holds a brace.

use std::sync::Arc;

use smallvec::SmallVec;

use super::pattern::{Captures, NAMED, REST, captured, first_part, fit, part_end};
use super::table::Table;
use super::text::Text;

/// What stands under one pattern, in an order of its own; mostly one thing, which then lies in the tree itself.
pub(super) type Values<T> = SmallVec<[T; 1]>;

/// What may follow one path segment. Most branches soon hold a single pattern, and end where they do: each place in memory that a
/// walk visits is a cache miss among thousands of routes.
#[derive(Clone, Debug)]
pub(super) enum Tree<T> {
    Leaf(Leaf<T>),
    /// Two patterns or more.
    Node(Arc<Node<T>>),
}

/// One pattern, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Leaf<T> {
    /// All of the pattern that is left.
    tail: Text,
    values: Values<T>,
}

#[derive(Clone, Debug)]
pub(super) struct Node<T> {
    literals: Table<Tree<T>>,
    named: Tree<T>,
    /// Whose pattern ends in a catch-all here.
    rest: Values<T>,
    /// Whose pattern ends here.
    ends: Values<T>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self::Leaf(Leaf { tail: Text::default(), values: Values::new() })
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: Table::default(), named: Tree::default(), rest: Values::new(), ends: Values::new() }
    }
}

impl<T: Clone> Tree<T> {
    /// Edits what stands under a pattern, and drops the branches that are empty afterwards.
    pub(super) fn edit(&mut self, skeleton: &str, edit: impl FnOnce(&mut Values<T>)) {
        match self {
            Self::Leaf(leaf) if leaf.values.is_empty() || leaf.tail.is(skeleton) => {
                leaf.tail = skeleton.into();
                edit(&mut leaf.values);
                if leaf.values.is_empty() {
                    *self = Self::default();
                }
                return;
            }
            Self::Leaf(leaf) => *self = Self::Node(Arc::new(Node::of(leaf))),
            Self::Node(_) => {}
        }
        let Self::Node(node) = self else { return };
        let node = Arc::make_mut(node);
        node.edit(skeleton, edit);
        if let Some(leaf) = node.single() {
            *self = Self::Leaf(leaf);
        }
    }

    /// What stands under exactly this pattern.
    pub(super) fn under(&self, skeleton: &str) -> &[T] {
        let node = match self {
            Self::Leaf(leaf) => return if leaf.tail.is(skeleton) { &leaf.values } else { &[] },
            Self::Node(node) => node,
        };
        match first_part(skeleton) {
            None => &node.ends,
            Some((REST, _)) => &node.rest,
            Some((NAMED, after)) => node.named.under(after),
            Some((literal, after)) => node.literals.get(literal).map_or(&[], |tree| tree.under(after)),
        }
    }

    /// All that it holds, in no particular order.
    pub(super) fn each<'t>(&'t self, look: &mut impl FnMut(&'t T)) {
        match self {
            Self::Leaf(leaf) => leaf.values.iter().for_each(look),
            Self::Node(node) => {
                node.ends.iter().chain(&node.rest).for_each(&mut *look);
                for tree in node.literals.values().chain([&node.named]) {
                    tree.each(look);
                }
            }
        }
    }

    /// All that it holds, with what it stands under, in an order that does not depend on how it came to be.
    pub(super) fn each_in_order<'t>(&'t self, above: &str, look: &mut impl FnMut(&str, &'t T)) {
        let mut each_of = |values: &'t [T], tail: &str| {
            let skeleton = format!("{above}{tail}");
            values.iter().for_each(|value| look(&skeleton, value));
        };
        let node = match self {
            Self::Leaf(leaf) => return each_of(&leaf.values, leaf.tail.as_str()),
            Self::Node(node) => node,
        };
        each_of(&node.ends, "");
        let mut literals: Vec<_> = node.literals.iter().collect();
        literals.sort_unstable_by_key(|(literal, _)| *literal);
        for (literal, tree) in literals {
            tree.each_in_order(&format!("{above}/{literal}"), look);
        }
        node.named.each_in_order(&format!("{above}/{NAMED}"), look);
        let skeleton = format!("{above}/{REST}");
        node.rest.iter().for_each(|value| look(&skeleton, value));
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Leaf(leaf) if leaf.values.is_empty())
    }
}

impl<T: Clone> Node<T> {
    /// Of one pattern, to which others come.
    fn of(leaf: &Leaf<T>) -> Self {
        let mut node = Self::default();
        let below = |after: &str| Tree::Leaf(Leaf { tail: after.into(), values: leaf.values.clone() });
        match first_part(leaf.tail.as_str()) {
            None => node.ends = leaf.values.clone(),
            Some((REST, _)) => node.rest = leaf.values.clone(),
            Some((NAMED, after)) => node.named = below(after),
            Some((literal, after)) => drop(node.literals.insert(literal, below(after))),
        }
        node
    }

    fn edit(&mut self, skeleton: &str, edit: impl FnOnce(&mut Values<T>)) {
        match first_part(skeleton) {
            None => edit(&mut self.ends),
            Some((REST, _)) => edit(&mut self.rest),
            Some((NAMED, after)) => self.named.edit(after, edit),
            Some((literal, after)) => edit_in(&mut self.literals, literal, after, edit),
        }
    }

    /// The leaf that it can be again.
    fn single(&self) -> Option<Leaf<T>> {
        let places = [!self.ends.is_empty(), !self.rest.is_empty(), !self.named.is_empty()];
        let count = places.into_iter().filter(|taken| *taken).count() + self.literals.len();
        if count > 1 {
            return None;
        }
        let under = |part: &str, tree: &Tree<T>| match tree {
            Tree::Leaf(Leaf { tail, values }) => {
                Some(Leaf { tail: format!("{part}{}", tail.as_str()).as_str().into(), values: values.clone() })
            }
            Tree::Node(_) => None,
        };
        if let Some((literal, tree)) = self.literals.iter().next() {
            return under(&format!("/{literal}"), tree);
        }
        match places {
            [_, true, _] => Some(Leaf { tail: "/{*}".into(), values: self.rest.clone() }),
            [_, _, true] => under("/{}", &self.named),
            _ => Some(Leaf { tail: Text::default(), values: self.ends.clone() }),
        }
    }
}

/// Edits in the tree under `key`, which is made if it is missing, and dropped if it is empty afterwards.
pub(super) fn edit_in<T: Clone>(
    trees: &mut Table<Tree<T>>,
    key: &str,
    skeleton: &str,
    edit: impl FnOnce(&mut Values<T>),
) {
    if let Some(tree) = trees.get_mut(key) {
        tree.edit(skeleton, edit);
        if tree.is_empty() {
            trees.remove(key);
        }
    } else {
        let mut tree = Tree::default();
        tree.edit(skeleton, edit);
        if !tree.is_empty() {
            trees.insert(key, tree);
        }
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
    pub(super) fn walk<T: Clone, R>(&mut self, tree: &'a Tree<T>, at: Option<usize>) -> Option<R>
    where
        P: FnMut(&'a [T]) -> Option<R>,
    {
        let node = match tree {
            Tree::Leaf(leaf) => return self.walk_leaf(leaf, at),
            Tree::Node(node) => node,
        };
        let Some(from) = at else { return (self.pick)(&node.ends) };
        let path: &'a str = self.path;
        let to = part_end(path, from);
        let (segment, next) = (path.get(from..to)?, (to < path.len()).then_some(to + 1));
        if let Some(tree) = node.literals.get(segment)
            && let Some(found) = self.walk(tree, next)
        {
            return Some(found);
        }
        if !segment.is_empty() && !node.named.is_empty() {
            self.captures.push(captured(from, to));
            if let Some(found) = self.walk(&node.named, next) {
                return Some(found);
            }
            self.captures.pop();
        }
        if node.rest.is_empty() {
            return None;
        }
        self.captures.push(captured(from, path.len()));
        let found = (self.pick)(&node.rest);
        if found.is_none() {
            self.captures.pop();
        }
        found
    }

    fn walk_leaf<T: Clone, R>(&mut self, leaf: &'a Leaf<T>, at: Option<usize>) -> Option<R>
    where
        P: FnMut(&'a [T]) -> Option<R>,
    {
        let before = self.captures.len();
        let fits = fit(leaf.tail.as_bytes(), self.path, at, &mut self.captures);
        let found = if fits { (self.pick)(&leaf.values) } else { None };
        if found.is_none() {
            self.captures.truncate(before);
        }
        found
    }
}
