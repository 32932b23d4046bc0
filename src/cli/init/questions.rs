//! What `init` has to know: from flags, or asked for. Everything that is wrong or missing is told at once; at a terminal what is
//! wrong is asked for again.

use std::io;

use crate::cli::console::Console;
use crate::cli::refusal::Refusal;

/// One thing to know.
pub(in crate::cli) struct Question {
    /// How it is given without being asked for.
    pub(in crate::cli) flag: &'static str,
    /// The same with a word for what follows.
    pub(in crate::cli) usage: &'static str,
    /// How it is asked for.
    pub(in crate::cli) prompt: &'static str,
    /// Typed unseen, and not repeated.
    pub(in crate::cli) hidden: bool,
    /// The answer as it is used, or what is wrong with it.
    pub(in crate::cli) check: fn(&str) -> Result<String, String>,
}

/// What was given on the command line, judged.
#[derive(Debug, Default)]
pub(in crate::cli) struct Given {
    wrong: Vec<String>,
    missing: Vec<&'static str>,
}

impl Given {
    /// One thing that was given; `None` if it was not, or is wrong.
    pub(in crate::cli) fn one(&mut self, question: &Question, text: Option<&str>) -> Option<String> {
        let Some(text) = text else {
            self.missing.push(question.usage);
            return None;
        };
        self.judge(question.flag, (question.check)(text))
    }

    /// The good ones of several that were given.
    pub(in crate::cli) fn several(
        &mut self,
        flag: &str,
        texts: &[String],
        check: fn(&str) -> Result<String, String>,
    ) -> Vec<String> {
        texts.iter().filter_map(|text| self.judge(flag, check(text))).collect()
    }

    /// What a check of `flag` came to.
    pub(in crate::cli) fn judge<T>(&mut self, flag: &str, judged: Result<T, String>) -> Option<T> {
        judged.map_err(|text| self.wrong.push(format!("{flag}: {text}"))).ok()
    }

    /// Something that is not there.
    pub(in crate::cli) fn lacks(&mut self, usage: &'static str) {
        self.missing.push(usage);
    }

    /// Whether one can go on, asking for what is missing where somebody can be asked.
    ///
    /// # Errors
    /// What is wrong; and if nobody can be asked, what is missing.
    pub(in crate::cli) fn settle(mut self, command: &str, console: Option<&Console>) -> Result<(), Refusal> {
        if console.is_none() && !self.missing.is_empty() {
            let missing = self.missing.join("; ");
            self.wrong.push(format!("{command} also needs {missing} (nobody can be asked here)"));
        }
        if self.wrong.is_empty() { Ok(()) } else { Err(Refusal::Usage(self.wrong)) }
    }
}

impl Question {
    /// The answer, asked for until it is right.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(in crate::cli) fn ask(&self, console: &Console) -> io::Result<String> {
        loop {
            let answer =
                if self.hidden { console.hidden_line(self.prompt) } else { console.line(self.prompt) };
            match (self.check)(&answer?) {
                Ok(answer) => return Ok(answer),
                Err(text) => console.say(&text),
            }
        }
    }

    /// The same, unless it was given. Whoever cannot be asked was refused before.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(in crate::cli) fn answer(
        &self,
        given: Option<String>,
        console: Option<&Console>,
    ) -> io::Result<String> {
        match (given, console) {
            (Some(given), _) => Ok(given),
            (None, Some(console)) => self.ask(console),
            (None, None) => Err(io::Error::other("a question is open, and nobody can be asked")),
        }
    }
}
