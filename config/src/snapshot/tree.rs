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
        Self::Leaf(Leaf::default())
    }
}

impl<T> Default for Leaf<T> {
    fn default() -> Self {
        Self { tail: Text::default(), values: Values::new() }
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
            Self::Leaf(leaf) => *self = Self::Node(Arc::new(Node::of(std::mem::take(leaf)))),
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
        let node = match self {
            Self::Leaf(leaf) => return each_under(&format!("{above}{}", leaf.tail.as_str()), &leaf.values, look),
            Self::Node(node) => node,
        };
        each_under(above, &node.ends, look);
        let mut literals: Vec<_> = node.literals.iter().collect();
        literals.sort_unstable_by_key(|(literal, _)| *literal);
        for (literal, tree) in literals {
            tree.each_in_order(&format!("{above}/{literal}"), look);
        }
        node.named.each_in_order(&format!("{above}/{NAMED}"), look);
        each_under(&format!("{above}/{REST}"), &node.rest, look);
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Leaf(leaf) if leaf.values.is_empty())
    }
}

impl<T: Clone> Node<T> {
    /// Of one pattern, to which others come.
    fn of(leaf: Leaf<T>) -> Self {
        let mut node = Self::default();
        let Leaf { tail, values } = leaf;
        match first_part(tail.as_str()) {
            None => node.ends = values,
            Some((REST, _)) => node.rest = values,
            Some((NAMED, after)) => node.named = Tree::Leaf(Leaf { tail: after.into(), values }),
            Some((literal, after)) => {
                node.literals.insert(literal, Tree::Leaf(Leaf { tail: after.into(), values }));
            }
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
            _ => Some(Leaf { values: self.ends.clone(), ..Leaf::default() }),
        }
    }
}

fn each_under<'t, T>(skeleton: &str, values: &'t [T], look: &mut impl FnMut(&str, &'t T)) {
    for value in values {
        look(skeleton, value);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::snapshot::pattern::capture;

    /// Long ones too, which do not fit into a leaf as they are.
    const LITERALS: [&str; 4] = ["", "a", "b", "a-segment-longer-than-most-of-them"];

    fn skeleton() -> impl Strategy<Value = String> {
        let inner = select(vec![NAMED, "a", "b", "a", "c", "d", "e", "f", LITERALS[3]]);
        let last = select(vec![NAMED, REST, "", "a", "b", LITERALS[3]]);
        let parts = (prop::collection::vec(inner, 0..3), last);
        parts.prop_map(|(inner, last)| inner.iter().chain([&last]).flat_map(|part| ["/", part]).collect())
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(select(LITERALS.to_vec()), 1..5).prop_map(|parts| format!("/{}", parts.join("/")))
    }

    /// What the skeleton's parts capture, each with how close it is, the closest first; from the design alone.
    fn fits(skeleton: &str, path: &str) -> Option<(Vec<u8>, Vec<String>)> {
        let (mut ranks, mut captured) = (Vec::new(), Vec::new());
        let (mut segments, parts) = (path.split('/').skip(1), skeleton.split('/').skip(1));
        for part in parts {
            let segment = segments.next()?;
            match part {
                REST => {
                    let all: Vec<&str> = std::iter::once(segment).chain(segments.by_ref()).collect();
                    captured.push(all.join("/"));
                    ranks.push(2);
                }
                NAMED if segment.is_empty() => return None,
                NAMED => {
                    captured.push(segment.to_owned());
                    ranks.push(1);
                }
                _ if part == segment => ranks.push(0),
                _ => return None,
            }
        }
        segments.next().is_none().then_some((ranks, captured))
    }

    /// Whose leaf is where.
    fn shape(tree: &Tree<u8>) -> String {
        match tree {
            Tree::Leaf(leaf) => format!("{:?} {:?}", leaf.tail, leaf.values),
            Tree::Node(node) => {
                let literals: BTreeMap<&str, String> =
                    node.literals.iter().map(|(literal, tree)| (literal, shape(tree))).collect();
                format!("[{literals:?} {} {:?} {:?}]", shape(&node.named), node.rest, node.ends)
            }
        }
    }

    fn tree_of(plain: &BTreeMap<String, Vec<u8>>) -> Tree<u8> {
        let mut tree = Tree::default();
        for (skeleton, values) in plain {
            tree.edit(skeleton, |leaf| leaf.extend(values.iter().copied()));
        }
        tree
    }

    proptest! {
        #[test]
        fn it_is_the_tree_of_what_it_holds_whatever_was_there_before(
            steps in prop::collection::vec((skeleton(), 0..3u8), 1..40),
            paths in prop::collection::vec(path(), 20),
        ) {
            let (mut tree, mut plain) = (Tree::default(), BTreeMap::<String, Vec<u8>>::new());
            for (skeleton, value) in steps {
                let toggle = |values: &mut Vec<u8>| match values.iter().position(|it| *it == value) {
                    Some(at) => drop(values.remove(at)),
                    None => values.push(value),
                };
                let before = (tree.clone(), shape(&tree));
                tree.edit(&skeleton, |leaf| {
                    let mut values = leaf.to_vec();
                    toggle(&mut values);
                    *leaf = Values::from_vec(values);
                });
                toggle(plain.entry(skeleton.clone()).or_default());
                plain.retain(|_, values| !values.is_empty());
                prop_assert_eq!(shape(&before.0), before.1);
                prop_assert_eq!(shape(&tree), shape(&tree_of(&plain)));
                prop_assert_eq!(tree.under(&skeleton), plain.get(&skeleton).map_or(&[][..], |values| values));
                prop_assert_eq!(tree.is_empty(), plain.is_empty());
            }
            let mut all = BTreeMap::<String, Vec<u8>>::new();
            tree.each_in_order("", &mut |skeleton, value| all.entry(skeleton.to_owned()).or_default().push(*value));
            prop_assert_eq!(&all, &plain);
            for path in paths {
                let mut met = Vec::new();
                let mut walk = Walk::new(&path, |values: &[u8]| -> Option<()> {
                    met.extend((!values.is_empty()).then(|| values.to_vec()));
                    None
                });
                prop_assert_eq!(walk.walk(&tree, Some(1)), None);
                prop_assert!(walk.captures.is_empty());
                let mut wanted: Vec<_> = plain.iter().filter_map(|(it, values)| Some((fits(it, &path)?, values))).collect();
                wanted.sort();
                prop_assert_eq!(&met, &wanted.iter().map(|(_, values)| (*values).clone()).collect::<Vec<_>>());
                let mut walk = Walk::new(&path, |values: &[u8]| values.first().copied());
                let found = walk.walk(&tree, Some(1));
                prop_assert_eq!(found, wanted.first().map(|(_, values)| values[0]));
                let captured: Vec<_> = (0..walk.captures.len()).map(|at| capture(&path, &walk.captures, at)).collect();
                prop_assert_eq!(captured, wanted.first().map_or(vec![], |((_, captured), _)| captured.clone()));
            }
        }
    }

    #[test]
    fn a_branch_of_one_pattern_takes_no_more_room_than_its_text_and_its_route() {
        assert_eq!(size_of::<Tree<Arc<()>>>(), 48);
    }
}
