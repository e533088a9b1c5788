//! What is demanded of what is seen. Pure: each demand hands on what it was asked about, or says
//! what there is instead.

mod event;
mod node;
mod pods;
#[cfg(test)]
mod tests;

pub(crate) use event::EventSight;
pub(crate) use node::NodeSight;
pub(crate) use pods::Pods;

/// What was demanded, or what there is instead.
pub(crate) type Seen<T> = Result<T, String>;

/// What a step shows below its line.
pub(crate) trait Shown {
    /// As kubectl shows it.
    fn rows(&self) -> Vec<String>;
}

impl Shown for () {
    fn rows(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn rows(&self) -> Vec<String> {
        self.iter().flat_map(Shown::rows).collect()
    }
}

impl Shown for String {
    fn rows(&self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<A: Shown, B: Shown> Shown for (A, B) {
    fn rows(&self) -> Vec<String> {
        let mut rows = self.0.rows();
        rows.extend(self.1.rows());
        rows
    }
}

impl<A: Shown, B: Shown, C: Shown> Shown for (A, B, C) {
    fn rows(&self) -> Vec<String> {
        let mut rows = self.0.rows();
        rows.extend(self.1.rows());
        rows.extend(self.2.rows());
        rows
    }
}

/// Cells in columns.
fn columns<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
