//! Just enough SVG for a plot of bars.

use std::fmt::Write;

/// Colours of the page, switched together: the plot stands on a card of its own, so that it can be read on any page.
/// Kept is blue and missed orange, which are told apart without seeing red and green.
const STYLE: &str = "
  .card, .gap { fill: #ffffff; }
  .card { stroke: #d0d7de; }
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .quiet { fill: #59636e; }
  .kept { fill: #2f7fd1; }
  .missed { fill: #d9711a; }
  .goal { stroke: #1f2328; stroke-width: 2; stroke-dasharray: 5 3; }
  .spread { stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    .card, .gap { fill: #0d1117; }
    .card { stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .kept { fill: #4493f8; }
    .missed { fill: #e3893c; }
    .goal, .spread { stroke: #f0f6fc; }
  }
";

/// A drawing that grows element by element. Lengths are in px.
pub struct Svg {
    elements: String,
}

impl Svg {
    /// Makes a drawing without elements.
    pub fn new() -> Self {
        Self { elements: String::new() }
    }

    /// Adds a text that begins at `x` on the base line `y`.
    pub fn text(&mut self, class: &str, x: f64, y: f64, words: &str) {
        self.element(&format!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escaped(words)));
    }

    /// Adds a filled rectangle from its upper left corner.
    pub fn bar(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        self.element(&format!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        ));
    }

    /// Adds a line from one point to another.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.element(&format!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// Returns the whole file, `width` by `height`, with a name that screen readers speak.
    pub fn finish(self, name: &str, width: f64, height: f64) -> String {
        let name = escaped(name);
        let (inner_width, inner_height) = (width - 1.0, height - 1.0);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{name}\">\n<style>{STYLE}</style>\n\
             <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{inner_width:.0}\" height=\"{inner_height:.0}\" rx=\"6\"/>\n\
             {}</svg>\n",
            self.elements
        )
    }

    fn element(&mut self, element: &str) {
        self.elements.push_str(element);
        self.elements.push('\n');
    }
}

/// Text as it may stand in an element and in an attribute. What XML cannot hold at all is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '<' | '>' | '"' | '\'' => {
                // Writing into a String cannot fail.
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_become_elements() {
        let mut svg = Svg::new();
        svg.text("title", 1.0, 2.0, "a</text><script>&\u{1}");
        let file = svg.finish("\"name\"", 10.0, 20.0);
        assert!(file.contains(">a&#60;/text&#62;&#60;script&#62;&#38;</text>"), "{file}");
        assert!(file.contains("aria-label=\"&#34;name&#34;\""), "{file}");
    }
}
