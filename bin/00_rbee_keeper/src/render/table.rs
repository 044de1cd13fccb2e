use comfy_table::presets;

/// Between two columns.
const GAP: u16 = 2;

/// Columns for people: a line of headings and a line for each row.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_header(headings);
        Self(table)
    }

    /// Facts about one thing: a name and a value on each line.
    pub(crate) fn facts() -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        Self(table)
    }

    pub(crate) fn fact(&mut self, name: &str, value: &str) {
        self.row([name.to_owned(), value.to_owned()]);
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells);
    }

    /// Ends with a line break; no line ends with a blank.
    pub(crate) fn text(mut self) -> String {
        self.0.column_iter_mut().for_each(|column| {
            column.set_padding((0, GAP));
        });
        let mut text = String::new();
        for line in self.0.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["a-long-name".into(), "ready".into()]);
        table.row(["b".into(), String::new()]);
        table.row([String::new(), "failed".into()]);
        let expected = "NAME         STATE\na-long-name  ready\nb\n             failed\n";
        assert_eq!(table.text(), expected);
    }
}
