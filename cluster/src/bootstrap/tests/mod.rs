mod real;
mod rule;
