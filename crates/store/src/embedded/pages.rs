//! redb's file as it lies on the disk, read without trusting any of it.
//!
//! redb opens a file that is wholly right, or not at all. What can still be had of one that is not
//! is found here: the rows of a table in all leaves that can be reached from its root, and between
//! which keys there may have been more. The layout is that of `docs/design.md` of redb, file format
//! 3. Checksums of pages are not looked at: rows have their own.

use std::collections::HashSet;
use std::ops::Range;

use redb::StorageBackend;

const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1a, 0x0a, 0xa9, 0x0d, 0x0a];
const PAGE: u64 = 4096;
/// The kind of tables with one value per key.
const TABLE: u8 = 3;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// Bytes of a reference to a tree: page, checksum, number of rows.
const ROOT: usize = 8 + 16 + 8;
/// No page is larger (redb's regions are 4 GiB); what claims to be is not read.
const MAX_PAGE: u64 = 1 << 30;
/// No tree is higher.
const MAX_HEIGHT: usize = 24;

/// The width of a key or value; `None` varies.
type Width = Option<usize>;

/// A row that was found.
pub(super) struct Row<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    /// Where in the file the value begins.
    pub(super) offset: u64,
}

/// Keys among which rows may be missing: after the first, up to the second; `None` is open.
pub(super) type Gap = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The pages of a file.
pub(super) struct Pages<'a> {
    file: &'a dyn StorageBackend,
    len: u64,
    region_header: u64,
    region: u64,
    /// Roots of the tree of tables, the newer one first.
    roots: Vec<u64>,
}

/// The tree of one table.
struct Tree<'a, 'b> {
    pages: &'a Pages<'b>,
    widths: (Width, Width),
    seen: HashSet<u64>,
    gaps: Vec<Gap>,
    take: &'a mut dyn FnMut(Row<'_>),
}

impl<'a> Pages<'a> {
    /// Reads the file's header; `None` when there is none.
    pub(super) fn open(file: &'a dyn StorageBackend) -> Option<Self> {
        let len = file.len().ok()?;
        let mut header = [0; 320];
        file.read(0, &mut header).ok()?;
        if header[..9] != MAGIC || u64::from(u32_at(&header, 12)?) != PAGE {
            return None;
        }
        let region_header = u64::from(u32_at(&header, 16)?) * PAGE;
        let region = region_header + u64::from(u32_at(&header, 20)?) * PAGE;
        let newer = usize::from(header[9] & 1 != 0);
        let root = |slot: usize| {
            let slot = &header[64 + 128 * slot..64 + 128 * (slot + 1)];
            (slot[1] != 0).then(|| u64_at(slot, 8)).flatten()
        };
        let roots = [newer, 1 - newer].into_iter().filter_map(root).collect();
        Some(Self { file, len, region_header, region, roots })
    }

    /// Hands out the rows of a table that can be reached, as of the newest commit whose tables can
    /// be, and says where others may be missing.
    pub(super) fn table(
        &self,
        name: &str,
        widths: (Width, Width),
        take: &mut dyn FnMut(Row<'_>),
    ) -> Vec<Gap> {
        for root in &self.roots {
            let mut entry = None;
            self.walk(*root, (None, None), &mut |row| {
                if row.key == name.as_bytes() {
                    entry = Some(row.value.to_vec());
                }
            });
            // Kind, number of rows, whether there is a root, the root.
            let Some(entry) = entry.filter(|e| e.len() >= 10 + ROOT && e[0] == TABLE) else {
                continue;
            };
            if entry[9] == 0 {
                return Vec::new();
            }
            if let Some(root) = u64_at(&entry, 10) {
                return self.walk(root, widths, take);
            }
        }
        vec![(None, None)]
    }

    fn walk(&self, root: u64, widths: (Width, Width), take: &mut dyn FnMut(Row<'_>)) -> Vec<Gap> {
        let mut tree = Tree { pages: self, widths, seen: HashSet::new(), gaps: Vec::new(), take };
        tree.visit(root, (None, None), 0);
        tree.gaps
    }

    /// The place and the bytes of the page that a reference names.
    fn page(&self, reference: u64) -> Option<(u64, Vec<u8>)> {
        let order = reference >> 59;
        let size = PAGE.checked_shl(u32::try_from(order).ok()?).filter(|size| *size <= MAX_PAGE)?;
        let index = reference & (0x000f_ffff >> order);
        let region = (reference >> 20) & 0x000f_ffff;
        let start = PAGE
            .checked_add(region.checked_mul(self.region)?)?
            .checked_add(self.region_header)?
            .checked_add(index.checked_mul(size)?)?;
        if start.checked_add(size)? > self.len {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.file.read(start, &mut bytes).ok()?;
        Some((start, bytes))
    }
}

impl Tree<'_, '_> {
    /// Takes in what is in a page and below it, whose keys are after the first of `between` and up
    /// to the second.
    fn visit(&mut self, reference: u64, between: Gap, depth: usize) {
        // A page that comes twice is a reference that was changed.
        let page = (depth < MAX_HEIGHT && self.seen.insert(reference))
            .then(|| self.pages.page(reference))
            .flatten();
        let read = page.as_ref().and_then(|(start, page)| match page[0] {
            LEAF => self.leaf(*start, page, &between),
            BRANCH => self.branch(page, &between, depth),
            _ => None,
        });
        if read.is_none() {
            self.gaps.push(between);
        }
    }

    fn leaf(&mut self, start: u64, page: &[u8], between: &Gap) -> Option<()> {
        let count = usize::from(u16_at(page, 2)?);
        let (key_width, value_width) = self.widths;
        let ends = |width: Width| if width.is_none() { 4 * count } else { 0 };
        let key_ends = 4;
        let value_ends = key_ends + ends(key_width);
        let keys = value_ends + ends(value_width);
        let keys = spans(page, key_width, key_ends, keys, count)?;
        let values = keys.last().map_or(0, |last| last.end);
        let values = spans(page, value_width, value_ends, values, count)?;
        if !keys.iter().all(|key| self.is_between(&page[key.clone()], between)) {
            return None;
        }
        for (key, value) in keys.into_iter().zip(values) {
            let offset = start + value.start as u64;
            (self.take)(Row { key: &page[key], value: &page[value], offset });
        }
        Some(())
    }

    fn branch(&mut self, page: &[u8], between: &Gap, depth: usize) -> Option<()> {
        let count = usize::from(u16_at(page, 2)?);
        let children = 8 + 16 * (count + 1);
        let ends = children + 8 * (count + 1);
        let start = ends + if self.widths.0.is_none() { 4 * count } else { 0 };
        let keys = spans(page, self.widths.0, ends, start, count)?;
        let bounds: Vec<Vec<u8>> = keys.into_iter().map(|key| page[key].to_vec()).collect();
        let references: Vec<u64> =
            (0..=count).map(|n| u64_at(page, children + 8 * n)).collect::<Option<_>>()?;
        for (n, reference) in references.into_iter().enumerate() {
            let after = if n == 0 { between.0.clone() } else { Some(bounds[n - 1].clone()) };
            let upto = bounds.get(n).cloned().or_else(|| between.1.clone());
            self.visit(reference, (after, upto), depth + 1);
        }
        Some(())
    }

    fn is_between(&self, key: &[u8], (after, upto): &Gap) -> bool {
        after.as_deref().is_none_or(|after| self.order(key) > self.order(after))
            && upto.as_deref().is_none_or(|upto| self.order(key) <= self.order(upto))
    }

    /// Keys of fixed width here are numbers in little-endian parts, the first of them the first in
    /// order; names and byte strings are in order as they are.
    fn order(&self, key: &[u8]) -> Vec<u8> {
        match self.widths.0 {
            None => key.to_vec(),
            Some(_) => {
                let (first, second) = key.split_at(key.len().min(8));
                first.iter().rev().chain(second.iter().rev()).copied().collect()
            }
        }
    }
}

/// Where `count` things begin and end: one after the other from `start` on, their ends told at
/// `ends` unless all have the same width.
fn spans(
    page: &[u8],
    width: Width,
    ends: usize,
    start: usize,
    count: usize,
) -> Option<Vec<Range<usize>>> {
    let mut spans = Vec::with_capacity(count);
    let mut from = start;
    for n in 0..count {
        let end = match width {
            Some(width) => from + width,
            None => u32_at(page, ends + 4 * n)? as usize,
        };
        if end < from || end > page.len() {
            return None;
        }
        spans.push(from..end);
        from = end;
    }
    Some(spans)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
