//! What the measured programs read: the same bytes every time.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A script for sqlite3 with as many single inserts as asked for.
pub fn write_sql(path: &Path, inserts: u32) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(
        out,
        "create table orders(id integer primary key, customer text, product integer, amount real);\n\
         begin;"
    )?;
    for id in 0..inserts {
        let (customer, product) = (id % 997, scattered(id) % 1013);
        writeln!(
            out,
            "insert into orders values({id}, 'customer {customer}', {product}, {product}.25);"
        )?;
    }
    writeln!(
        out,
        "commit;\n\
         create index by_customer on orders(customer, amount);\n\
         select customer, count(*), sum(amount) from orders group by customer order by 3 desc limit 5;\n\
         select length(group_concat(customer)) from orders group by product limit 5;\n\
         select count(distinct customer || product) from orders;"
    )?;
    out.flush()
}

/// One array of records for jq, of at least that many bytes.
pub fn write_json(path: &Path, bytes: u64) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut written = 0;
    let mut id = 0;
    while written < bytes {
        let start = if id == 0 { '[' } else { ',' };
        let (group, score) = (scattered(id) % 101, scattered(id) % 1009);
        let record = format!(
            "{start}{{\"id\": {id}, \"name\": \"user {id}\", \"group\": \"group {group}\", \
             \"score\": {score}.5, \"tags\": [\"tag {group}\", \"all\"], \
             \"address\": {{\"city\": \"city {score}\", \"zip\": {score}}}}}\n"
        );
        out.write_all(record.as_bytes())?;
        written += record.len() as u64;
        id += 1;
    }
    writeln!(out, "]")?;
    out.flush()
}

/// Numbers in no visible order (Knuth's multiplicative hash).
fn scattered(number: u32) -> u32 {
    number.wrapping_mul(2_654_435_761) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_json_of_that_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_json(file.path(), 10_000).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!((10_000..11_000).contains(&text.len()), "{}", text.len());
        let records: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(records[1]["name"], "user 1");
    }
}
