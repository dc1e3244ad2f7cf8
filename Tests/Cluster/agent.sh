agent_cases() { :; }
