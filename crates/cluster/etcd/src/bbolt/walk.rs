//! All leaf pages of one bucket, from the last one to the first.

use super::error::{DatabaseError, PageProblem};
use super::node::{Kind, Node, Part};
use super::{Database, Root};

/// A walk over a tree. It reaches each page at most once, so it ends after as many steps as the file has pages.
pub(crate) struct Walk<'a> {
    database: &'a Database,
    /// What is still to be visited, for each level: the next one is the last.
    levels: Vec<Vec<u64>>,
    first: Option<Root>,
    visited: Visited,
    branch: Option<Box<Node>>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(database: &'a Database, root: Root) -> Self {
        let visited = Visited::new(database.meta.pages);
        Self { database, levels: Vec::new(), first: Some(root), visited, branch: None }
    }

    /// Fills `leaf` with the next leaf page, and says whether there was one.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or is damaged.
    pub(crate) fn next_leaf(&mut self, leaf: &mut Node) -> Result<bool, DatabaseError> {
        self.next(leaf, Part::All)
    }

    /// Like [`Self::next_leaf`], but only the count of entries can be asked of the leaf.
    pub(crate) fn next_count(&mut self, leaf: &mut Node) -> Result<bool, DatabaseError> {
        self.next(leaf, Part::Header)
    }

    fn next(&mut self, leaf: &mut Node, part: Part) -> Result<bool, DatabaseError> {
        while let Some(root) = self.step() {
            if let Root::Page(page) = root {
                self.check_inside(page, 0)?;
            }
            let overflow = leaf.begin(self.database, root, part)?;
            if let Root::Page(page) = root {
                self.visit(page, overflow)?;
            }
            match (leaf.kind(), part) {
                (Kind::Leaf, Part::All) => leaf.complete(self.database, overflow)?,
                (Kind::Leaf, Part::Header) => (),
                (Kind::Branch, _) => {
                    self.descend(root)?;
                    continue;
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn step(&mut self) -> Option<Root> {
        if let Some(root) = self.first.take() {
            return Some(root);
        }
        while let Some(level) = self.levels.last_mut() {
            if let Some(page) = level.pop() {
                return Some(Root::Page(page));
            }
            self.levels.pop();
        }
        None
    }

    /// Notes a page and those that belong to it.
    fn visit(&mut self, page: u64, overflow: u64) -> Result<(), DatabaseError> {
        self.check_inside(page, overflow)?;
        for each in page..=page + overflow {
            if !self.visited.first_time(each) {
                return Err(DatabaseError::Page { page, problem: PageProblem::Twice });
            }
        }
        Ok(())
    }

    fn check_inside(&self, page: u64, overflow: u64) -> Result<(), DatabaseError> {
        let pages = self.database.meta.pages;
        match pages.checked_sub(page) {
            Some(rest) if rest > overflow => Ok(()),
            _ => Err(DatabaseError::Page { page, problem: PageProblem::Outside(pages) }),
        }
    }

    fn descend(&mut self, root: Root) -> Result<(), DatabaseError> {
        // A buffer of its own: the leaf's may hold no more than a header.
        let branch = self.branch.get_or_insert_with(|| Box::new(Node::new()));
        let overflow = branch.begin(self.database, root, Part::All)?;
        branch.complete(self.database, overflow)?;
        if branch.count() == 0 {
            return Err(branch.damaged(PageProblem::Empty));
        }
        if self.levels.len() >= DEPTH_MAX {
            return Err(branch.damaged(PageProblem::Deep(DEPTH_MAX)));
        }
        let children: Result<_, _> = (0..branch.count()).map(|index| branch.child(index)).collect();
        self.levels.push(children?);
        Ok(())
    }
}

/// One bit for each page: 256 KiB for 8 GiB of 4 KiB pages.
struct Visited {
    bits: Vec<u64>,
}

impl Visited {
    /// `pages` are in the file, so a file that says more than it has cannot make this large.
    fn new(pages: u64) -> Self {
        Self { bits: vec![0; usize::try_from(pages.div_ceil(64)).unwrap_or_default()] }
    }

    fn first_time(&mut self, page: u64) -> bool {
        let bit = 1 << (page % 64);
        let word = usize::try_from(page / 64).ok().and_then(|word| self.bits.get_mut(word));
        let Some(word) = word else { return false };
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// Real trees have at most 6 levels: a branch of 4 KiB holds some 120 keys of etcd. With 65535 children at each level this is
/// 16 MiB.
const DEPTH_MAX: usize = 32;
